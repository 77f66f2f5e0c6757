// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// The client's side of SOCKS5 (RFC 1928, RFC 1929) without input or output: bytes in, bytes and events out.
///
/// It says how many bytes it ``bytesNeeded``: reading no more than that leaves what follows the last reply, which is
/// the user's, in the kernel. Bytes may come in any pieces. No input makes it trap or grow.
struct SOCKS5Handshake {
  enum Command: UInt8 {
    case connect = 1
    case bind = 2
  }

  /// Where the request leads: for BIND the peer that is expected, for CONNECT the host.
  enum Destination {
    case address(HostAddress, port: UInt16)
    /// For the proxy to look up; 1 to 255 bytes.
    case name([UInt8], port: UInt16)
  }

  enum Event {
    /// To be sent before anything else is received; wiped by the caller after sending.
    case send([UInt8])
    /// BIND's first reply: the proxy listens there.
    case bound(HostAddress, port: UInt16)
    /// BIND's second reply: this peer has connected, and the rest of the stream is its own.
    case arrived(HostAddress, port: UInt16)
    /// CONNECT's reply: the rest of the stream is the host's. Null where the proxy named its side by a name.
    case connected(HostAddress, port: UInt16)
    case failed(Failure)
  }

  private enum Phase {
    case method
    case authentication
    case reply
    /// BIND, between its two replies.
    case bound
    case over
  }

  /// The longest reply: a domain name of 255 bytes.
  static let longestReply = 4 + 1 + 255 + 2

  private let command: Command
  private let destination: Destination
  private var credentials: [UInt8]?
  private var phase = Phase.method
  private var received: [UInt8] = []

  /// - Parameter credentials: what ``authenticationMessage(user:password:)`` made; nil to offer none.
  init(_ command: Command, to destination: Destination, credentials: [UInt8]? = nil) {
    self.command = command
    self.destination = destination
    self.credentials = credentials
    received.reserveCapacity(Self.longestReply)
  }

  /// What opens the conversation: both methods where there are credentials, so that the proxy chooses.
  var greeting: [UInt8] {
    credentials == nil ? [5, 1, Method.none] : [5, 2, Method.none, Method.password]
  }

  private enum Method {
    static let none: UInt8 = 0
    static let password: UInt8 = 2
    static let unacceptable: UInt8 = 0xff
  }

  /// The message of RFC 1929; nil where a part is not 1 to 255 bytes long.
  static func authenticationMessage(user: String, password: String) -> [UInt8]? {
    let (user, password) = (user.utf8, password.utf8)
    guard (1...255).contains(user.count), (1...255).contains(password.count) else { return nil }
    var message: [UInt8] = []
    message.reserveCapacity(3 + user.count + password.count)
    message += [1, UInt8(user.count)]
    message += user
    message.append(UInt8(password.count))
    message += password
    return message
  }

  /// Overwrites what must not stay in memory.
  static func wipe(_ bytes: inout [UInt8]) {
    unsafe bytes.withUnsafeMutableBytes { bytes in
      if let start = bytes.baseAddress { unsafe explicit_bzero(start, bytes.count) }
    }
    bytes = []
  }

  mutating func wipeCredentials() {
    // Taken out first: a second reference would make wiping write to a copy.
    if var taken = exchange(&credentials, with: nil) {
      Self.wipe(&taken)
    }
  }

  // MARK: - Input

  /// How many bytes it surely needs next; 0 when the conversation is over, and takes no more.
  var bytesNeeded: Int {
    switch phase {
    case .method, .authentication: 2 - received.count
    case .reply, .bound: replyLength - received.count
    case .over: 0
    }
  }

  /// The length of the reply, as far as it is known: its head and the byte that gives the length of the rest.
  private var replyLength: Int {
    guard received.count >= 5 else { return 5 }
    return switch received[3] {
    case 1: 4 + 4 + 2
    case 4: 4 + 16 + 2
    default: 4 + 1 + Int(received[4]) + 2
    }
  }

  /// Whether the proxy is connecting to the host now.
  var connectsToHost: Bool {
    phase == .reply && command == .connect
  }

  /// Takes bytes, up to the first that completes something.
  ///
  /// - Returns: how many bytes were taken, and what they complete.
  mutating func receive(_ bytes: some Sequence<UInt8>) -> (taken: Int, event: Event?) {
    var taken = 0
    for byte in bytes {
      guard bytesNeeded > 0 else { break }
      received.append(byte)
      taken += 1
      if let event = parse() {
        return (taken, event)
      }
    }
    return (taken, nil)
  }

  /// The proxy has ended its side.
  mutating func endOfInput() -> Event {
    fail(.proxyConnectionClosed, "Connection to proxy closed prematurely")
  }

  /// Judged at each byte: an error is reported as soon as it can be read, whether or not the rest ever comes.
  private mutating func parse() -> Event? {
    switch phase {
    case .method: parseMethod()
    case .authentication: parseAuthentication()
    case .reply, .bound: parseReply()
    case .over: nil
    }
  }

  private mutating func parseMethod() -> Event? {
    guard received[0] == 5 else { return protocolError() }
    guard received.count == 2 else { return nil }
    let method = received[1]
    received.removeAll(keepingCapacity: true)
    switch method {
    case Method.none:
      wipeCredentials()
      return request()
    case Method.password where credentials != nil:
      phase = .authentication
      return .send(exchange(&credentials, with: nil) ?? [])
    case Method.unacceptable:
      return fail(.proxyAuthenticationRequired, "Proxy authentication failed")
    default:
      return fail(
        .socketAccess,
        "Proxy authentication failed: the proxy chose authentication method \(method), which was not offered"
      )
    }
  }

  private mutating func parseAuthentication() -> Event? {
    guard received.count == 2 else { return nil }
    guard received[1] == 0 else { return fail(.proxyAuthenticationRequired, "Proxy authentication failed") }
    // RFC 1929 has 1; some proxies repeat the protocol's own version.
    guard received[0] == 1 || received[0] == 5 else { return protocolError() }
    received.removeAll(keepingCapacity: true)
    return request()
  }

  private mutating func request() -> Event {
    phase = .reply
    var message: [UInt8] = [5, command.rawValue, 0]
    switch destination {
    case .address(let address, let port):
      let bytes = address.bytes
      message.append(bytes.count == 4 ? 1 : 4)
      message += bytes
      message += [UInt8(port >> 8), UInt8(port & 0xff)]
    case .name(let name, let port):
      guard let length = UInt8(exactly: name.count), length > 0 else {
        return fail(.hostNotFound, "The host name is not 1 to 255 bytes long")
      }
      message += [3, length]
      message += name
      message += [UInt8(port >> 8), UInt8(port & 0xff)]
    }
    return .send(message)
  }

  private mutating func parseReply() -> Event? {
    guard received[0] == 5 else { return protocolError() }
    if received.count >= 2, received[1] != 0 {
      let (error, text) = Self.meaning(ofReply: received[1])
      return fail(error, text)
    }
    // The third byte is reserved; what a proxy puts there is its own matter.
    if received.count >= 4, !isKnownAddressType(received[3]) { return protocolError() }
    if received.count == 5, received[3] == 3, received[4] == 0 { return protocolError() }
    guard received.count >= 5, received.count == replyLength else { return nil }
    let port = UInt16(received[received.count - 2]) << 8 | UInt16(received[received.count - 1])
    let address = received[3] == 3 ? nil : HostAddress(bytes: received[4..<received.count - 2])
    // A mapped one is its IPv4 address; a name is none.
    let host = address.map { $0.ipv4 ?? $0 } ?? .null
    received.removeAll(keepingCapacity: true)
    switch (command, phase) {
    case (.connect, _):
      phase = .over
      return .connected(host, port: port)
    case (.bind, .reply):
      phase = .bound
      return .bound(host, port: port)
    case (.bind, _):
      phase = .over
      return .arrived(host, port: port)
    }
  }

  /// A name does not say where to reach a server, or who its peer is; for a connection that was made it is not needed.
  private func isKnownAddressType(_ type: UInt8) -> Bool {
    type == 1 || type == 4 || type == 3 && command == .connect
  }

  // MARK: - Failing

  private mutating func protocolError() -> Event {
    fail(.proxyProtocol, "SOCKS version 5 protocol error")
  }

  private mutating func fail(_ error: SocketError, _ text: String) -> Event {
    phase = .over
    received = []
    wipeCredentials()
    return .failed(Failure(error, text))
  }

  private static func meaning(ofReply code: UInt8) -> (SocketError, String) {
    switch code {
    case 1: (.network, "General SOCKSv5 server failure")
    case 2: (.socketAccess, "Connection not allowed by SOCKSv5 server")
    case 3: (.network, "Network unreachable")
    case 4: (.hostNotFound, "Host not found")
    case 5: (.connectionRefused, "Connection refused")
    case 6: (.network, "TTL expired")
    case 7: (.unsupportedSocketOperation, "SOCKSv5 command not supported")
    case 8: (.unsupportedSocketOperation, "Address type not supported")
    default:
      (.unknown, "Unknown SOCKSv5 proxy error code 0x\(code < 16 ? "0" : "")\(String(code, radix: 16))")
    }
  }
}
