// SPDX-License-Identifier: Apache-2.0

internal import CServerTLS
internal import TCPServerKit

/// What the C library asks in a handshake: about a certificate, for a key, and for the identity of a server name.
extension SSLTransport {
  /// What the C library calls back.
  @safe final class Owner {
    unowned(unsafe) var transport: SSLTransport?
    /// For what is asked in the handshake.
    weak var socket: TCPSocket?
    let keyLog: SSLKeyLog?
    /// Emitted when a key is needed, before the configuration's handler is called; nil where it has no handlers.
    var keyQuestion: Signal<(socket: TCPSocket, authenticator: SSLPreSharedKeyAuthenticator)>?
    /// For the identity of a server name.
    var lookup = Question<String?>.none
    /// About the certificates of the peer.
    var verification = Question<(certificates: [[UInt8]], error: Int)>.none

    /// The errors in the peer's certificate do not matter.
    var ignoresErrors = false
    /// The same as it was when the step began that is being made.
    var stepIgnoresErrors = false

    init(of socket: TCPSocket, keyLog: SSLKeyLog?) {
      self.socket = socket
      self.keyLog = keyLog
    }

    static func of(_ context: UnsafeMutableRawPointer?) -> Owner? {
      unsafe context.map { unsafe Unmanaged<Owner>.fromOpaque($0).takeUnretainedValue() }
    }
  }

  // MARK: - A certificate

  /// The errors in the peer's certificate do not matter. Has no effect where the program is not asked about them.
  var ignoresErrors: Bool {
    get { owner?.ignoresErrors ?? false }
    set { owner?.ignoresErrors = newValue }
  }

  /// The library asks about a certificate. A faulty one is answered for outside of its call, where handlers may do
  /// anything.
  fileprivate func isAsked(about error: Int) {
    if context.peerVerifier != nil {
      owner?.verification = .asked((certificatesOfPeer, error))
    } else if error == 0 || owner?.stepIgnoresErrors ?? false {
      unsafe csc_tls_answer_verify(tls, true)
    }
  }

  /// Answers for a faulty certificate; then the handshake goes on.
  func answerCertificate(_ isAccepted: Bool) {
    guard holder == .none else { return }
    unsafe csc_tls_answer_verify(tls, isAccepted)
  }

  /// What is wrong with the peer's certificate.
  var certificateError: SSLError {
    var error = SSLError(.certificate, "The certificate of the peer is not accepted")
    error.verification = unsafe csc_tls_verify_error(tls)
    return error
  }

  // MARK: - A key

  /// The library asks for a key, and waits for the answer within its call: OpenSSL has no other way.
  fileprivate func isAskedForKey(_ question: csc_tls_psk_question) {
    let text = unsafe question.text.map { unsafe String(validatingCString: $0) } ?? nil
    // No text is no one's identity.
    if !isClient, text == nil { return }
    let authenticator = unsafe SSLPreSharedKeyAuthenticator(
      identityHint: isClient ? text : context.preSharedKeyIdentityHint,
      identity: isClient ? "" : text ?? "",
      maximumIdentityLength: question.longest_identity,
      maximumPreSharedKeyLength: question.longest_key
    )
    defer { authenticator.wipe() }
    if let owner, let socket = owner.socket { owner.keyQuestion?.emit((socket, authenticator)) }
    if authenticator.hasNoKey, !hasEnded { context.preSharedKeyHandler?(authenticator) }
    // C would take what is before it for the identity.
    guard !authenticator.hasNoKey, !hasEnded, !authenticator.identity.utf8.contains(0) else { return }
    unsafe authenticator.withKey { key in
      guard let base = key.baseAddress else { return }
      unsafe _ = csc_tls_answer_psk(tls, authenticator.identity, base, key.count)
    }
  }

  // MARK: - An identity

  fileprivate func isAskedForIdentity(of name: String?) {
    owner?.lookup = .asked(name)
  }

  private func answerLookup(_ identity: SSLIdentity?) {
    owner?.lookup = .none
    guard holder == .none else { return }
    if let identity {
      unsafe identity.withPointer { unsafe csc_tls_answer_lookup(tls, $0) }
    } else {
      unsafe csc_tls_answer_lookup(tls, nil)
    }
  }

  // MARK: - Answers by tasks

  /// What a task of the program answers.
  enum Question<Asked> {
    case none
    case asked(Asked)
    case running(Task<Void, Never>)

    var isOpen: Bool {
      if case .none = self { false } else { true }
    }

    func cancel() {
      if case .running(let task) = self { task.cancel() }
    }
  }

  /// Begins what was asked within a step. Not within it: a task may begin at once, and end the connection.
  func beginAnswers() {
    guard let owner else { return }
    if case .asked(let name) = owner.lookup, let body = context.identityLookup {
      owner.lookup = .running(answer(by: { await body(name) }, { $0.answerLookup($1) }))
    }
    if case .asked(let (certificates, error)) = owner.verification, let body = context.peerVerifier {
      owner.verification = .running(
        answer(by: { await body(certificates, error) }) { transport, isAccepted in
          transport.owner?.verification = .none
          transport.answerCertificate(isAccepted)
        }
      )
    }
  }

  func cancelAnswers() {
    owner?.lookup.cancel()
    owner?.verification.cancel()
  }

  var waitsForTask: Bool {
    owner.map { $0.lookup.isOpen || $0.verification.isOpen } ?? false
  }

  private func answer<Answer: Sendable>(
    by body: @escaping @Sendable () async -> Answer,
    _ take: @escaping @Sendable (SSLTransport, Answer) -> Void
  ) -> Task<Void, Never> {
    Task(executorPreference: owner?.socket?.loopExecutor) { [weak socket = owner?.socket] in
      let answer = await body()
      // On the loop again. A socket whose connection has ended may have another one by now.
      guard !Task.isCancelled, let socket, let transport = socket.transport as? SSLTransport else { return }
      take(transport, answer)
      socket.handshakeIsAnswered()
    }
  }
}

// MARK: - Callbacks of the C library

func onCertificate(_: OpaquePointer, error: CLong, context: UnsafeMutableRawPointer?) {
  unsafe SSLTransport.Owner.of(context)?.transport?.isAsked(about: error)
}

func onKey(_: OpaquePointer, question: UnsafePointer<csc_tls_psk_question>, context: UnsafeMutableRawPointer?)
{
  unsafe SSLTransport.Owner.of(context)?.transport?.isAskedForKey(question.pointee)
}

func onLookup(_: OpaquePointer, name: UnsafePointer<CChar>?, context: UnsafeMutableRawPointer?) {
  unsafe SSLTransport.Owner.of(context)?.transport?.isAskedForIdentity(
    of: name.map { unsafe String(cString: $0) }
  )
}

func onKeyLog(_: OpaquePointer, line: UnsafePointer<CChar>, context: UnsafeMutableRawPointer?) {
  unsafe SSLTransport.Owner.of(context)?.keyLog?.append(line)
}
