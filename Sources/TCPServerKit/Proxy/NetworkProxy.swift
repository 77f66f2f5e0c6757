/// A proxy that a server or socket goes through, or the decision to use none.
///
/// Unlike Qt, nothing is ever taken from the environment or the system: ``default`` means the application's
/// proxy, and there is none unless the program gives one.
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

  /// What kind of proxy it is.
  public var kind: Kind
  /// The proxy's address or name.
  public var hostName: String
  /// The proxy's port.
  public var port: UInt16
  /// The user name for the proxy; empty for none.
  public var user: String
  /// The password for the proxy; empty for none.
  public var password: String

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

  /// Whether a connection made directly by the kernel is what this asks for.
  var isDirect: Bool {
    kind == .default || kind == .none
  }
}
