// SPDX-License-Identifier: Apache-2.0

internal import CServerCore
internal import Glibc

/// An address with its port, and the kernel's form of both.
struct SocketAddress: Hashable {
  var host: HostAddress
  var port: UInt16

  init(host: HostAddress, port: UInt16) {
    self.host = host
    self.port = port
  }

  init?(_ address: UnsafePointer<sockaddr>, length: socklen_t) {
    var core = csc_address()
    guard unsafe csc_address_from_sockaddr(address, Int(length), &core) else { return nil }
    host = HostAddress(core)
    port = core.port
  }

  var core: csc_address {
    host.core(port: port)
  }

  /// The family that `socket(2)` wants.
  var family: CInt {
    host.isIPv4 ? AF_INET : AF_INET6
  }

  static func local(of descriptor: CInt) -> SocketAddress? {
    unsafe SystemCalls.name(of: descriptor, isPeer: false) { unsafe SocketAddress($0, length: $1) }
  }

  /// The peer's in the core's form, in which that of a UNIX socket is an address, too.
  static func corePeer(of descriptor: CInt) -> csc_address? {
    unsafe SystemCalls.name(of: descriptor, isPeer: true) { name, length in
      var core = csc_address()
      return unsafe csc_address_from_sockaddr(name, Int(length), &core) ? core : nil
    }
  }

  static func peer(of descriptor: CInt) -> SocketAddress? {
    unsafe SystemCalls.name(of: descriptor, isPeer: true) { unsafe SocketAddress($0, length: $1) }
  }

  /// Starts connecting `descriptor` to this address.
  func connect(_ descriptor: CInt) -> SystemCalls.Outcome {
    unsafe withAddress { unsafe SystemCalls.connect(descriptor, to: $0, $1) }
  }

  /// Binds `descriptor` to this address.
  func bind(_ descriptor: CInt) -> SystemCalls.Outcome {
    unsafe withAddress { unsafe SystemCalls.bind(descriptor, to: $0, $1) }
  }

  private func withAddress(
    _ call: (UnsafePointer<sockaddr>, socklen_t) -> SystemCalls.Outcome
  ) -> SystemCalls.Outcome {
    var core = core
    var storage = sockaddr_storage()
    let length = unsafe csc_address_to_sockaddr(&core, &storage)
    return unsafe withUnsafePointer(to: &storage) { storage in
      unsafe storage.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        unsafe call(address, length)
      }
    }
  }
}
