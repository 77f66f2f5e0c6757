// SPDX-License-Identifier: Apache-2.0

internal import CServerCore
internal import Glibc

/// A connection being made: from a name or an address to a connected descriptor, that of the first address that answers
/// (RFC 8305, "Happy Eyeballs").
///
/// Never blocks: the caller waits for any of the descriptors ``awaited``, by the loop or by poll, or for ``deadline``, and
/// calls ``advance()``.
final class TCPConnector {
  enum Progress {
    case waiting
    /// The descriptor is the caller's.
    case connected(CInt)
    case failed(Failure)
  }

  /// A local address, and a descriptor that is bound to it already.
  typealias Binding = (address: SocketAddress, descriptor: CInt)

  /// How long an address may be silent before the next one is tried beside it.
  static let attemptDelay: Duration = .milliseconds(250)

  private let port: UInt16
  private let attemptDelay: Duration
  private var binding: Binding?
  private let mayConnect: (HostAddress) -> Failure?
  private var lookup: NameLookup?
  private var candidates: ArraySlice<HostAddress> = []
  private var attempts: [(descriptor: CInt, address: SocketAddress)] = []
  private var failure = Failure.hostNotFound
  /// When the next address is tried; nil where none is left, or those before it must fail first.
  private(set) var deadline: ContinuousClock.Instant?
  /// Where the last attempt leads; once connected, where that has led.
  private(set) var address: SocketAddress?
  private(set) var attemptCount = 0

  /// - Parameters:
  ///   - addresses: the host's, the preferred ones first; none to look its name up.
  ///   - binding: the local address. Its port cannot be shared by attempts: they are made one after the other.
  ///   - mayConnect: why an address is not to be tried; nil for one that is.
  init(
    to hostName: String,
    addresses: [HostAddress] = [],
    port: UInt16,
    boundTo binding: Binding? = nil,
    attemptDelay: Duration = attemptDelay,
    mayConnect: @escaping (HostAddress) -> Failure? = { _ in nil }
  ) {
    self.port = port
    self.binding = binding
    self.attemptDelay = attemptDelay
    self.mayConnect = mayConnect
    candidates = addresses[...]
    guard addresses.isEmpty else { return }
    lookup = NameLookup(hostName)
    if lookup == nil { failure = .outOfResources }
  }

  deinit {
    for attempt in attempts { SystemCalls.closeDescriptor(attempt.descriptor) }
    if let binding, binding.descriptor >= 0 { SystemCalls.closeDescriptor(binding.descriptor) }
  }

  var isLookingUp: Bool {
    lookup != nil
  }

  var awaited: [SystemCalls.Awaited] {
    if let lookup { return [(lookup.descriptor, forWriting: false)] }
    return attempts.map { ($0.descriptor, forWriting: true) }
  }

  /// Does what can be done without waiting.
  func advance() -> Progress {
    if let lookup {
      guard let addresses = lookup.addresses else { return .waiting }
      self.lookup = nil
      candidates = Self.alternatingFamilies(addresses)[...]
    }
    if let connected = finishedAttempt() { return connected }
    if attempts.isEmpty || deadline.map({ $0 <= .now }) ?? false, let connected = beginNext() {
      return connected
    }
    return attempts.isEmpty ? .failed(failure) : .waiting
  }

  /// Ends the attempts that have failed. After a failure the next address is tried at once.
  private func finishedAttempt() -> Progress? {
    for attempt in attempts where !SystemCalls.isConnecting(attempt.descriptor) {
      let errnum = SystemCalls.option(attempt.descriptor, SOL_SOCKET, SO_ERROR) ?? EBADF
      attempts.removeAll { $0.descriptor == attempt.descriptor }
      if errnum == 0 {
        address = attempt.address
        return .connected(attempt.descriptor)
      }
      failure = Failure(CSC_CALL_CONNECT, errno: errnum)
      SystemCalls.closeDescriptor(attempt.descriptor)
      deadline = deadline.map { _ in .now }
    }
    return nil
  }

  /// Tries the next address, and those after it as long as they fail at once.
  private func beginNext() -> Progress? {
    deadline = nil
    while let host = candidates.popFirst() {
      if let failure = mayConnect(host) {
        self.failure = failure
        continue
      }
      let address = SocketAddress(host: host.ipv4 ?? host, port: port)
      do throws(Failure) {
        let descriptor = try openStream(for: address)
        self.address = address
        attemptCount += 1
        switch address.connect(descriptor) {
        case .value:
          return .connected(descriptor)
        case .failed(EINPROGRESS), .failed(EINTR):
          attempts.append((descriptor, address))
          if binding == nil && !candidates.isEmpty { deadline = .now + attemptDelay }
          return nil
        case .failed(let errnum):
          SystemCalls.closeDescriptor(descriptor)
          throw Failure(CSC_CALL_CONNECT, errno: errnum)
        }
      } catch {
        failure = error
      }
    }
    return nil
  }

  /// RFC 8305, section 4: the families take turns, so that one which leads nowhere costs one delay.
  static func alternatingFamilies(_ addresses: [HostAddress]) -> [HostAddress] {
    guard let first = addresses.first else { return [] }
    var preferred = addresses.filter { $0.isIPv4 == first.isIPv4 }[...]
    var others = addresses.filter { $0.isIPv4 != first.isIPv4 }[...]
    var result: [HostAddress] = []
    while let next = preferred.popFirst() ?? others.popFirst() {
      result.append(next)
      swap(&preferred, &others)
    }
    return result
  }

  // MARK: - Descriptors

  /// The bound descriptor where there is one of the family, otherwise a new one.
  private func openStream(for address: SocketAddress) throws(Failure) -> CInt {
    guard let local = binding?.address else {
      switch SystemCalls.openStream(family: address.family) {
      case .value(let descriptor): return CInt(descriptor)
      case .failed(let errnum): throw Failure(CSC_CALL_SOCKET, errno: errnum)
      }
    }
    let anyOfFamily: HostAddress = address.family == AF_INET ? .anyIPv4 : .anyIPv6
    let host = local.host == .any ? anyOfFamily : local.host.ipv4 ?? local.host
    let wanted = SocketAddress(host: host, port: local.port)
    guard wanted.family == address.family else { throw Failure(CSC_CALL_BIND, errno: EADDRNOTAVAIL) }
    let bound = binding?.descriptor ?? -1
    binding?.descriptor = -1
    if bound >= 0 {
      if SocketAddress.local(of: bound)?.family == wanted.family { return bound }
      SystemCalls.closeDescriptor(bound)
    }
    return try Self.openStream(boundTo: wanted)
  }

  static func openStream(boundTo address: SocketAddress) throws(Failure) -> CInt {
    switch SystemCalls.openStream(family: address.family) {
    case .failed(let errnum):
      throw Failure(CSC_CALL_SOCKET, errno: errnum)
    case .value(let opened):
      let descriptor = CInt(opened)
      guard case .failed(let errnum) = address.bind(descriptor) else { return descriptor }
      SystemCalls.closeDescriptor(descriptor)
      throw Failure(CSC_CALL_BIND, errno: errnum)
    }
  }
}
