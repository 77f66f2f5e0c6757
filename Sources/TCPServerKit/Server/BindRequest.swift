// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// One BIND of a listener: asked for, waited on, taken up by a peer, and asked for again.
final class BindRequest {
  enum Phase {
    /// Nothing is open; a back-off may be running.
    case idle
    case negotiating
    case bound
    /// A peer has come, and waits for room in the server's queue.
    case arrived(csc_address)
  }

  private(set) var phase = Phase.idle
  /// Where the proxy listens, or did when it last listened.
  private(set) var binding: ProxyBinding?
  /// When what runs now has taken too long; nil where that may take any time.
  private(set) var deadline: ContinuousClock.Instant?
  private(set) var connection: ProxyConnection?
  private var watches: [DescriptorWatch] = []
  private var timer: LoopTimer?
  private var retryDelay = Duration.zero
  /// Whether the port asked for is the one of before, which is not required.
  private(set) var asksForSamePort = false
  /// The proxy has refused the port of before.
  var asksForAnyPort = false
  private var bindingSince: ContinuousClock.Instant?

  static let firstRetryDelay: Duration = .milliseconds(100)
  static let longestRetryDelay: Duration = .seconds(10)

  var isIdle: Bool {
    if case .idle = phase { true } else { false }
  }

  var isBound: Bool {
    switch phase {
    case .bound, .arrived: true
    case .idle, .negotiating: false
    }
  }

  /// The peer that waits, with its connection's descriptor, which is the caller's from now on.
  func takeArrived() -> csc_connection? {
    guard case .arrived(let peer) = phase, let connection else { return nil }
    let taken = unsafe csc_connection(
      descriptor: connection.takeDescriptor(),
      peer: peer,
      source: 0,
      proxied: nil
    )
    stop()
    return taken
  }

  var hasArrived: Bool {
    if case .arrived = phase { true } else { false }
  }

  /// Opens it again.
  func begin(
    through route: ProxyRoute,
    at address: HostAddress?,
    port: UInt16,
    _ settings: ProxyListenOptions,
    _ family: HostAddress
  ) {
    stop()
    let wished = port != 0 || asksForAnyPort ? port : binding?.port ?? 0
    asksForSamePort = port == 0 && wished != 0
    // The address of the request is the peer's, not the server's: a proxy may turn every other peer away.
    let peer = settings.onlyPeer ?? family
    connection = ProxyConnection(.bind, to: .address(peer, port: wished), through: route, at: address)
    phase = .negotiating
  }

  /// Takes over its connection's deadline.
  ///
  /// - Returns: whether that has changed.
  func updateDeadline() -> Bool {
    guard deadline != connection?.deadline else { return false }
    deadline = connection?.deadline
    return true
  }

  /// Its timer has fired: another is to be started, whichever the deadline is.
  func forgetDeadline() {
    deadline = nil
  }

  func didBind(_ binding: ProxyBinding) {
    phase = .bound
    self.binding = binding
    bindingSince = .now
    asksForAnyPort = false
    deadline = nil
    timer = nil
  }

  func didArrive(_ peer: csc_address) {
    phase = .arrived(peer)
    retryDelay = .zero
  }

  /// Closes what is open.
  func stop() {
    phase = .idle
    stopWatching()
    timer = nil
    deadline = nil
    connection?.close()
    connection = nil
  }

  /// Puts the next attempt off, for longer each time; one that had been open for a while counts as a success.
  func backOff() {
    if let since = bindingSince, ContinuousClock.now - since > Self.longestRetryDelay {
      retryDelay = .zero
    }
    bindingSince = nil
    retryDelay = min(max(retryDelay * 2, Self.firstRetryDelay), Self.longestRetryDelay)
    deadline = .now + retryDelay
  }

  /// Has `action` called when the deadline comes, if there is a loop and a deadline.
  func startTimer(_ engine: EventEngine?, _ action: @escaping () -> Void) {
    timer = nil
    if let engine, let deadline {
      timer = LoopTimer(engine, after: deadline - .now, action: action)
    }
  }

  /// Before the connection goes on: that may close its descriptor.
  func stopWatching() {
    watches.forEach { $0.stop() }
    watches = []
  }

  /// Watches for what the connection awaits; false when the loop cannot.
  func updateWatch(_ engine: EventEngine?, _ action: @escaping () -> Void) -> Bool {
    stopWatching()
    guard let engine, let connection else { return true }
    let awaited = connection.awaited
    watches = awaited.compactMap {
      DescriptorWatch(engine, $0.descriptor, forWriting: $0.forWriting, action: action)
    }
    return watches.count == awaited.count
  }
}
