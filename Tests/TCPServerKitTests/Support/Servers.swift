// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

/// A server whose ``incomingConnection(_:)`` is a closure.
final class OverridingServer: TCPServer, @unchecked Sendable {
  /// Called with this server and the descriptor, instead of the base implementation.
  var onIncoming: (OverridingServer, CInt) -> Void = { server, descriptor in server.takeDefault(descriptor) }

  override func incomingConnection(_ socketDescriptor: CInt) {
    onIncoming(self, socketDescriptor)
  }

  /// The base implementation.
  func takeDefault(_ descriptor: CInt) {
    super.incomingConnection(descriptor)
  }
}

/// One that listens, with its loop.
struct OverridingFixture {
  let loop: Loop
  let server: OverridingServer

  init() throws {
    loop = try Loop()
    server = OverridingServer(eventBase: loop.base)
    try #require(server.listen(address: .localHost))
  }

  func connect() throws -> PlainClient {
    try #require(PlainClient(to: server))
  }
}

/// The error string of a call that needs an event base.
func withoutEventBase(_ call: String) -> String {
  "\(call) called on a server without an event base: "
    + "make the server within EventBase.withThread(_:) or EventBase.run(_:)"
}

/// What this machine has.
enum Machine {
  /// Whether `::1` can be listened on.
  static let hasIPv6: Bool = {
    let descriptor = Descriptors.listening(on: "::1")
    defer { close(descriptor) }
    return descriptor >= 0
  }()

  /// The addresses of all interfaces that are up, IPv6 link-local ones with their scope.
  static let addresses: [HostAddress] = {
    var list: UnsafeMutablePointer<ifaddrs>?
    guard unsafe getifaddrs(&list) == 0 else { return [] }
    defer { unsafe freeifaddrs(list) }
    var found: [HostAddress] = []
    var entry = unsafe list
    while let interface = unsafe entry {
      if let address = unsafe interface.pointee.ifa_addr,
        unsafe interface.pointee.ifa_flags & UInt32(IFF_UP) != 0,
        let literal = unsafe literal(address), let host = HostAddress(literal)
      {
        found.append(host)
      }
      unsafe entry = interface.pointee.ifa_next
    }
    return found
  }()

  /// An address that other machines can reach this one by; nil when there is none.
  static var outwardAddress: HostAddress? {
    addresses.first { $0.isIPv4 && !$0.isLoopback }
  }

  static var linkLocalAddresses: [HostAddress] {
    addresses.filter { $0.description.hasPrefix("169.254.") || $0.description.hasPrefix("fe80:") }
  }

  private static func literal(_ address: UnsafeMutablePointer<sockaddr>) -> String? {
    let length =
      switch CInt(unsafe address.pointee.sa_family) {
      case AF_INET: MemoryLayout<sockaddr_in>.size
      case AF_INET6: MemoryLayout<sockaddr_in6>.size
      default: 0
      }
    guard length > 0 else { return nil }
    var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
    let size = socklen_t(text.count)
    guard unsafe getnameinfo(address, socklen_t(length), &text, size, nil, 0, NI_NUMERICHOST) == 0 else {
      return nil
    }
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
