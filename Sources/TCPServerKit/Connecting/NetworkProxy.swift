// SPDX-License-Identifier: Apache-2.0

/// A proxy that a server or socket goes through, or the decision to use none.
///
/// Unlike Qt, nothing is ever taken from the environment or the system: ``default`` means the application's
/// proxy, and there is none unless the program gives one. See <doc:ListeningThroughAProxy>.
///
/// Its ``description`` has no credentials in it, whichever way it is printed.
public struct NetworkProxy: Hashable, Sendable {
  /// What kind of proxy it is, with the numbers of `QNetworkProxy::ProxyType`.
  public enum Kind: Int, Sendable {
    /// Whatever the application uses.
    case `default` = 0
    /// SOCKS version 5 (RFC 1928).
    case socks5 = 1
    /// No proxy.
    case none = 2
    /// HTTP with the CONNECT method; cannot listen.
    case http = 3
    /// An HTTP cache; cannot listen.
    case httpCaching = 4
    /// An FTP cache; cannot listen.
    case ftpCaching = 5
  }

  /// What a proxy can do, with the bits of `QNetworkProxy::Capability`.
  public struct Capabilities: OptionSet, Hashable, Sendable {
    /// The bits.
    public let rawValue: Int

    /// Makes a set of the bits.
    public init(rawValue: Int) {
      self.rawValue = rawValue
    }

    /// It opens TCP connections.
    public static let tunneling = Capabilities(rawValue: 0x01)
    /// It listens for TCP connections.
    public static let listening = Capabilities(rawValue: 0x02)
    /// It passes datagrams on. No call of this library makes use of it.
    public static let udpTunneling = Capabilities(rawValue: 0x04)
    /// It caches. No call of this library makes use of it.
    public static let caching = Capabilities(rawValue: 0x08)
    /// It looks up host names.
    public static let hostNameLookup = Capabilities(rawValue: 0x10)
    /// It opens SCTP connections. No call of this library makes use of it.
    public static let sctpTunneling = Capabilities(rawValue: 0x20)
    /// It listens for SCTP connections. No call of this library makes use of it.
    public static let sctpListening = Capabilities(rawValue: 0x40)
  }

  /// What kind of proxy it is. Changing it changes ``capabilities``, unless those were set.
  public var kind: Kind
  /// The proxy's address or name.
  public var hostName: String
  /// The proxy's port.
  public var port: UInt16
  /// The user name for the proxy; empty for none. SOCKS5 carries 1 to 255 bytes.
  public var user: String
  /// The password for the proxy; empty for none. SOCKS5 carries 1 to 255 bytes.
  public var password: String
  /// How long connecting to each of the proxy's addresses and its own answers may take together; 5 seconds at first.
  ///
  /// It ends where the proxy waits for a peer of a server, which may take hours. A host that the proxy connects to has
  /// four times as long.
  public var timeout: Duration = .seconds(5)
  /// Whether the user name and password may go to a proxy on another machine; false at first.
  ///
  /// SOCKS5 sends them in clear text, for everybody on the way to read. A proxy on this machine gets them anyway.
  public var allowsClearTextCredentials = false
  /// Whether addresses of this machine's own (loopback) go through the proxy as well; false at first.
  ///
  /// For tests, and for networks in which this machine's loopback leads elsewhere.
  public var proxiesLoopback = false

  private var chosenCapabilities: Capabilities?

  /// Describes a proxy.
  public init(_ kind: Kind, hostName: String = "", port: UInt16 = 0, user: String = "", password: String = "")
  {
    self.kind = kind
    self.hostName = hostName
    self.port = port
    self.user = user
    self.password = password
  }

  /// Whatever the application uses: no proxy, unless the program says otherwise.
  public static let `default` = NetworkProxy(.default)
  /// No proxy.
  public static let none = NetworkProxy(.none)

  /// A SOCKS5 proxy.
  public static func socks5(
    hostName: String,
    port: UInt16 = 1080,
    user: String = "",
    password: String = ""
  ) -> NetworkProxy {
    NetworkProxy(.socks5, hostName: hostName, port: port, user: user, password: password)
  }

  /// An HTTP proxy.
  public static func http(
    hostName: String,
    port: UInt16 = 8080,
    user: String = "",
    password: String = ""
  ) -> NetworkProxy {
    NetworkProxy(.http, hostName: hostName, port: port, user: user, password: password)
  }

  /// What the proxy can do: by its ``kind`` until it is set. One without ``Capabilities/listening`` is passed
  /// over by a server, one without ``Capabilities/tunneling`` by a socket.
  public var capabilities: Capabilities {
    get { chosenCapabilities ?? Self.capabilities(of: kind) }
    set { chosenCapabilities = newValue }
  }

  private static func capabilities(of kind: Kind) -> Capabilities {
    switch kind {
    case .default, .none: [.tunneling, .listening, .udpTunneling, .sctpTunneling, .sctpListening]
    case .socks5: [.tunneling, .listening, .udpTunneling, .hostNameLookup]
    case .http: [.tunneling, .caching, .hostNameLookup]
    case .httpCaching, .ftpCaching: [.caching, .hostNameLookup]
    }
  }

  var timeoutOfHost: Duration {
    timeout.limited * 4
  }

  var hasCredentials: Bool {
    !user.isEmpty || !password.isEmpty
  }
}

extension NetworkProxy: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  /// The kind, host and port, for a person to read.
  public var description: String {
    switch kind {
    case .default: "the application's proxy"
    case .none: "no proxy"
    case .socks5: "SOCKS5 proxy \(location)"
    case .http: "HTTP proxy \(location)"
    case .httpCaching: "HTTP cache \(location)"
    case .ftpCaching: "FTP cache \(location)"
    }
  }

  private var location: String {
    hostName.contains(":") ? "[\(hostName)]:\(port)" : "\(hostName):\(port)"
  }

  /// The same as ``description``.
  public var debugDescription: String {
    description
  }

  /// Nothing but ``description``: what looks into values, such as `dump`, finds no credentials.
  public var customMirror: Mirror {
    Mirror(self, children: ["description": description])
  }
}
