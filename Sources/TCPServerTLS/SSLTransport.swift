// SPDX-License-Identifier: Apache-2.0

internal import CServerTLS
internal import Glibc
internal import TCPServerKit

/// TLS between a socket and its descriptor. Used on the socket's thread alone; a thread that it is lent to calls
/// ``stepOnThread()``.
@safe final class SSLTransport: SocketTransport {
  let tls: OpaquePointer
  /// As it was configured when the handshake began.
  let context: SSLContext
  /// What the C library calls back; nil where it does not.
  let owner: Owner?
  /// Nil for steps on the loop, and once the handshake is complete.
  private var lending: Lending?
  private var isComplete = false
  private(set) var hasEnded = false
  /// A step of the handshake is in progress: the program is called within it, and the C library must be left alone.
  private(set) var isStepping = false
  /// The end, or a failure, has been seen behind bytes that were read.
  private var endIsDue = false
  /// No more than a record.
  private var begunBytesOfRecord: UInt16 = 0
  private(set) var isTruncated = false
  private(set) var holder = Holder.none

  /// Of a handshake whose steps threads make.
  private final class Lending {
    /// See ``SSLTransport/lend``.
    let lend: () -> Bool
    /// What a step has come to.
    var step: csc_tls_result?

    init(_ lend: @escaping () -> Bool) {
      self.lend = lend
    }
  }

  /// Has another thread make a step, which ends with ``takeBack(_:)``; nil for steps on the loop. Returns false where
  /// there is no thread.
  var lend: (() -> Bool)? {
    get { lending?.lend }
    set { lending = newValue.map { Lending($0) } }
  }

  /// What the handshake does not go on for.
  enum Holder {
    case none
    /// It has not begun, and waits for its turn; see ``SSLServer/handshakeRate``.
    case rate
    /// It was to be lent, and there is no thread: it waits for its turn on the loop.
    case queue
    /// A thread has it: nothing of the library is used on the loop but `csc_tls_abandon()`.
    case thread
  }

  /// - Returns: nil when memory is short, or a client's server name is missing, or cannot be one.
  init?(_ context: SSLContext, of socket: TCPSocket, descriptor: CInt, clientOf serverName: String? = nil) {
    // C would take what is before it for the name.
    if serverName?.utf8.contains(0) ?? false { return nil }
    self.context = context
    let owner = context.callsBack ? Owner(of: socket, keyLog: context.keyLog) : nil
    let address = unsafe owner.map { unsafe Unmanaged.passUnretained($0).toOpaque() }
    let made =
      context.isClient
      ? unsafe csc_tls_new_client(context.pointer, descriptor, serverName, address)
      : unsafe csc_tls_new_server(context.pointer, descriptor, address)
    guard let made = unsafe made else { return nil }
    unsafe tls = made
    self.owner = owner
    unsafe owner?.transport = self
  }

  deinit {
    cancelAnswers()
    unsafe csc_tls_free(tls)
  }

  // MARK: - SocketTransport

  func handshake() -> TransportStep {
    guard !hasEnded else { return .failed(Self.closed) }
    if let lending, let result = exchange(&lending.step, with: nil) { return concluded(result) }
    // The descriptor is watched for its end alone meanwhile.
    guard holder == .none else { return .needsAnswer }
    // A handler that supplies a key runs within a step.
    guard !isStepping else { return .needsInput }
    if let owner { owner.stepIgnoresErrors = owner.ignoresErrors }
    if let lending {
      holder = .thread
      if lending.lend() { return .needsAnswer }
      // Its steps are the loop's from now on, among those of the others.
      self.lending = nil
      holder = .queue
      return .needsAnswer
    }
    isStepping = true
    let result = unsafe csc_tls_handshake(tls)
    isStepping = false
    return concluded(result)
  }

  private func concluded(_ result: csc_tls_result) -> TransportStep {
    let step = step(result)
    if case .done = step {
      isComplete = true
      lending = nil
    }
    // What is asked in a step that needs more of the peer is begun when that has come: a peer that shows a certificate
    // without proving it starts no verifier.
    if case .needsAnswer = step, !hasEnded, owner != nil { beginAnswers() }
    return step
  }

  func receive(into buffer: UnsafeMutableRawBufferPointer) -> TransportCount {
    guard !hasEnded else { return .failed(Self.closed) }
    guard let base = buffer.baseAddress else { return .needsInput }
    endIsDue = false
    var total = 0
    while true {
      var count = 0
      let result = unsafe csc_tls_read(tls, base + total, buffer.count - total, &count)
      total += count
      guard result == CSC_TLS_DONE else { return total > 0 ? after(total, result) : nothing(result) }
      // Behind a little there is nothing more in the kernel, most often.
      let mayGoOn = unsafe csc_tls_has_buffered_input(tls) || total >= Self.manyBytes
      guard total < buffer.count, mayGoOn else { return .count(total) }
    }
  }

  private static let manyBytes = 8192

  private func after(_ total: Int, _ result: csc_tls_result) -> TransportCount {
    // Comes again with the next read, for which the kernel gives no event.
    endIsDue = result == CSC_TLS_END || result == CSC_TLS_FAILED || result == CSC_TLS_WANT_WRITE
    return .count(total)
  }

  private func nothing(_ result: csc_tls_result) -> TransportCount {
    switch result {
    case CSC_TLS_END: return .count(0)
    case CSC_TLS_WANT_READ: return .needsInput
    case CSC_TLS_WANT_WRITE: return .needsRoom
    default: break
    }
    if unsafe csc_tls_failure_of(tls) == CSC_TLS_FAILURE_TRUNCATED {
      isTruncated = true
      if context.allowsTruncation { return .count(0) }
    }
    return .failed(failure)
  }

  func send(_ bytes: UnsafeRawBufferPointer) -> TransportCount {
    guard !hasEnded else { return .failed(Self.closed) }
    guard let base = bytes.baseAddress else { return .count(0) }
    var count = 0
    let result = unsafe csc_tls_write(tls, base, bytes.count, &count)
    let begun = result == CSC_TLS_WANT_WRITE ? min(bytes.count - count, Self.recordSize) : 0
    begunBytesOfRecord = UInt16(begun)
    switch result {
    case CSC_TLS_DONE, CSC_TLS_WANT_WRITE: return count > 0 ? .count(count) : .needsRoom
    case CSC_TLS_WANT_READ: return .needsInput
    default: return .failed(failure)
    }
  }

  private static let recordSize = 16384

  var begunBytes: Int {
    Int(begunBytesOfRecord)
  }

  func endWriting() -> TransportStep {
    hasEnded ? .done : step(unsafe csc_tls_end_writing(tls))
  }

  var hasBufferedInput: Bool {
    unsafe !hasEnded && holder == .none && (endIsDue || csc_tls_has_buffered_input(tls))
  }

  /// A client that has ended its side cannot go on with its handshake; its certificate may be its last message.
  var needsMoreFromPeer: Bool {
    holder != .thread && owner?.lookup.isOpen ?? false
  }

  func releaseBuffers() {
    unsafe _ = csc_tls_release_buffers(tls)
  }

  func connectionEnded() {
    hasEnded = true
    lending = nil
    if holder == .thread { return unsafe csc_tls_abandon(tls) }
    cancelAnswers()
    if isStepping { unsafe csc_tls_abandon(tls) } else { releaseBuffers() }
  }

  // MARK: - On other threads

  /// OpenSSL waits within a step for a pre-shared key, which the program supplies on the loop.
  var mayBeLent: Bool {
    !context.asksForKeys
  }

  /// On the thread that it is lent to: makes a step.
  func stepOnThread() -> csc_tls_result {
    unsafe csc_tls_handshake(tls)
  }

  /// It is the loop's again: the next ``handshake()`` returns what the step has come to.
  func takeBack(_ result: csc_tls_result) {
    // What has become of one that has ended is said already.
    guard !hasEnded else { return releaseBuffers() }
    holder = .none
    lending?.step = result
  }

  /// No step is made until ``goOn()``.
  func waitForTurn() {
    holder = .rate
  }

  func goOn() {
    holder = .none
  }

  /// The descriptor may be another file's by now.
  private static var closed: TransportFailure { .system(errno: EBADF) }

  private func step(_ result: csc_tls_result) -> TransportStep {
    switch result {
    case CSC_TLS_DONE, CSC_TLS_END: .done
    case CSC_TLS_WANT_READ: .needsInput
    case CSC_TLS_WANT_WRITE: .needsRoom
    case CSC_TLS_WANT_ANSWER: .needsAnswer
    default: .failed(failure)
    }
  }

  private var failure: TransportFailure {
    let reason = unsafe csc_tls_failure_of(tls)
    let errnum = unsafe csc_tls_errno(tls)
    if reason == CSC_TLS_FAILURE_SYSTEM, errnum != 0 { return .system(errno: errnum) }
    let isEnd = reason == CSC_TLS_FAILURE_SILENT || reason == CSC_TLS_FAILURE_TRUNCATED
    let error: SocketError =
      if isEnd { .remoteHostClosed } else if isComplete { .sslInternal } else { .sslHandshakeFailed }
    let isExplained = unsafe csc_tls_alert_sent(tls) >= 0
    return .other(error, text: self.error?.description ?? "", isExplained: isExplained)
  }

  /// The number of the last alert that was sent, or came.
  func alert(sent isSent: Bool) -> UInt8? {
    guard holder != .thread else { return nil }
    let number = unsafe isSent ? csc_tls_alert_sent(tls) : csc_tls_alert_received(tls)
    return UInt8(exactly: number)
  }

  // MARK: - What was agreed

  /// Why the connection has failed; nil while it has not.
  var error: SSLError? {
    holder == .thread ? nil : unsafe SSLError(of: tls)
  }

  var version: SSLVersion? {
    unsafe SSLVersion(rawValue: Int(csc_tls_version_of(tls).rawValue))
  }

  var isClient: Bool {
    context.isClient
  }

  /// Whether a peer without a valid certificate is refused.
  var requiresValid: Bool {
    context.requiresValid
  }

  var isResumed: Bool {
    unsafe holder != .thread && csc_tls_is_resumed(tls)
  }

  var encryption: Encryption? {
    guard isComplete, let version, let cipher = unsafe csc_tls_cipher(tls) else { return nil }
    return unsafe Encryption(
      version: version,
      cipher: String(cString: cipher),
      applicationProtocol: applicationProtocol,
      serverName: csc_tls_server_name(tls).map { unsafe String(cString: $0) },
      peerCertificates: peerCertificates,
      verification: csc_tls_verify_error(tls),
      preSharedKeyIdentity: csc_tls_psk_identity(tls).map { unsafe String(cString: $0) },
      isResumed: isResumed,
      isTruncated: isTruncated
    )
  }

  private var applicationProtocol: String? {
    var size = 0
    guard let name = unsafe csc_tls_application_protocol(tls, &size) else { return nil }
    return unsafe String(decoding: UnsafeRawBufferPointer(start: name, count: size), as: UTF8.self)
  }

  var peerCertificates: [[UInt8]] {
    holder == .thread ? [] : certificatesOfPeer
  }

  /// The same within a step.
  var certificatesOfPeer: [[UInt8]] {
    var certificates: [[UInt8]] = []
    while true {
      let size = unsafe csc_tls_copy_peer_certificate(tls, certificates.count, nil, 0)
      guard size > 0 else { return certificates }
      var certificate = [UInt8](repeating: 0, count: size)
      let index = certificates.count
      unsafe _ = csc_tls_copy_peer_certificate(tls, index, &certificate, size)
      certificates.append(certificate)
    }
  }

  // MARK: - A client's session

  /// The session, to resume it later; empty when there is none.
  var session: [UInt8] {
    guard holder != .thread else { return [] }
    let size = unsafe csc_tls_copy_session(tls, nil, 0)
    guard size > 0 else { return [] }
    var bytes = [UInt8](repeating: 0, count: size)
    let copied = unsafe csc_tls_copy_session(tls, &bytes, size)
    return copied == size ? bytes : []
  }

  func resume(_ session: [UInt8]) {
    if !session.isEmpty { unsafe _ = csc_tls_resume(tls, session, session.count) }
  }
}
