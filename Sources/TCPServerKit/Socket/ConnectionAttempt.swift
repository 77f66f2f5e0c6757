/// Where an outgoing connection stands: which addresses are still to be tried, and the lookup that finds them.
final class ConnectionAttempt {
  let port: UInt16
  var lookup: NameLookup?
  var candidates: [HostAddress] = []
  var next = 0
  /// Why the candidate before failed; what is reported when it was the last.
  var failure = Failure(.hostNotFound, "Host not found")

  init(port: UInt16) {
    self.port = port
  }
}
