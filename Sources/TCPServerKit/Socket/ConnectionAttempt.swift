/// The state of an outgoing connection: which addresses are still to be tried, and the lookup that finds them.
final class ConnectionAttempt {
  let port: UInt16
  var lookup: NameLookup?
  var candidates: [HostAddress] = []
  var next = 0
  /// What `bind(address:port:)` has bound it to, and the descriptor until it is used.
  var local: SocketAddress?
  var boundDescriptor: CInt = -1
  /// The conversation with the proxy that the connection goes through; nil without one.
  var proxied: ProxyConnection?
  /// When the proxy has taken too long; nil while it connects to the host.
  var proxyDeadline: ContinuousClock.Instant?
  var proxyTimer: LoopTimer?
  /// Why the candidate before failed; what is reported when it was the last.
  var failure = Failure(.hostNotFound, "Host not found")

  init(port: UInt16) {
    self.port = port
  }

  deinit {
    if boundDescriptor >= 0 { SystemCalls.closeDescriptor(boundDescriptor) }
  }
}
