// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// An option of a socket, with the numbers of `QAbstractSocket::SocketOption`; what Qt does not have begins at 1000.
///
/// A UNIX socket has ``sendBufferSize`` alone; ``keepAlive`` and ``receiveBufferSize`` can be set and change nothing, all
/// others are refused.
public enum SocketOption: Int, CaseIterable, Sendable {
  /// 1, the default, sends small writes at once (TCP_NODELAY); 0 lets the kernel collect them.
  case lowDelay = 0
  /// 1 probes a silent peer (SO_KEEPALIVE); 0 is the default.
  case keepAlive = 1
  /// The type of service, respectively traffic class, of sent packets: 0 to 255.
  case typeOfService = 4
  /// The kernel's send buffer in bytes (SO_SNDBUF). The kernel doubles what is set.
  case sendBufferSize = 5
  /// The kernel's receive buffer in bytes (SO_RCVBUF). The kernel doubles what is set.
  case receiveBufferSize = 6
  /// The path's maximum transmission unit in bytes; cannot be set.
  case pathMtu = 7
  /// Seconds of silence before the first probe (TCP_KEEPIDLE).
  case keepAliveIdle = 8
  /// Seconds between probes (TCP_KEEPINTVL).
  case keepAliveInterval = 9
  /// Probes without an answer before the connection is given up (TCP_KEEPCNT).
  case keepAliveCount = 10
  /// Milliseconds that what was sent may go without an answer before the connection is given up, with
  /// ``SocketError/socketTimeout`` (TCP_USER_TIMEOUT). 0, the default, leaves it to the kernel, which tries for a
  /// quarter of an hour: probes do not help against a peer that vanishes while data is on its way.
  case userTimeout = 1000

  /// Whether UNIX sockets have no such option.
  var isOfInternet: Bool {
    switch self {
    case .keepAlive, .sendBufferSize, .receiveBufferSize: false
    default: true
    }
  }

  /// Sets it for a socket; false when the kernel refuses.
  func set(_ value: Int, for descriptor: CInt) -> Bool {
    guard descriptor >= 0, self != .pathMtu, let value = CInt(exactly: value) else { return false }
    let isIPv6 = Self.isIPv6(descriptor)
    let (level, name) = name(ipv6: isIPv6)
    guard SystemCalls.setOption(descriptor, level, name, value) else { return false }
    if self == .typeOfService && isIPv6 {
      // A dual-stack connection to an IPv4 peer sends IPv4 packets.
      _ = SystemCalls.setOption(descriptor, CInt(IPPROTO_IP), CInt(IP_TOS), value)
    }
    return true
  }

  /// Its value for a socket; nil when the kernel does not say.
  func value(for descriptor: CInt) -> Int? {
    guard descriptor >= 0 else { return nil }
    let (level, name) = name(ipv6: Self.isIPv6(descriptor))
    return SystemCalls.option(descriptor, level, name).map { Int($0) }
  }

  private static func isIPv6(_ descriptor: CInt) -> Bool {
    SystemCalls.option(descriptor, SOL_SOCKET, SO_DOMAIN) == AF_INET6
  }

  /// The level and name that the kernel knows it by, for a socket of this family.
  private func name(ipv6: Bool) -> (level: CInt, name: CInt) {
    let tcp = CInt(IPPROTO_TCP)
    let ipv6Level = CInt(IPPROTO_IPV6)
    return switch self {
    case .lowDelay: (tcp, TCP_NODELAY)
    case .keepAlive: (SOL_SOCKET, SO_KEEPALIVE)
    case .typeOfService: ipv6 ? (ipv6Level, IPV6_TCLASS) : (CInt(IPPROTO_IP), CInt(IP_TOS))
    case .sendBufferSize: (SOL_SOCKET, SO_SNDBUF)
    case .receiveBufferSize: (SOL_SOCKET, SO_RCVBUF)
    case .pathMtu: ipv6 ? (ipv6Level, IPV6_MTU) : (CInt(IPPROTO_IP), CInt(IP_MTU))
    case .keepAliveIdle: (tcp, TCP_KEEPIDLE)
    case .keepAliveInterval: (tcp, TCP_KEEPINTVL)
    case .keepAliveCount: (tcp, TCP_KEEPCNT)
    case .userTimeout: (tcp, TCP_USER_TIMEOUT)
    }
  }
}
