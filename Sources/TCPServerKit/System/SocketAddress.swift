internal import CServerCore

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Musl
#endif

/// An address with its port, and the kernel's form of both.
struct SocketAddress {
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
    unsafe read { unsafe getsockname(descriptor, $0, $1) }
  }

  static func peer(of descriptor: CInt) -> SocketAddress? {
    unsafe read { unsafe getpeername(descriptor, $0, $1) }
  }

  private static func read(
    _ call: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> CInt
  ) -> SocketAddress? {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    return unsafe withUnsafeMutablePointer(to: &storage) { storage in
      unsafe storage.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        unsafe call(address, &length) == 0 ? SocketAddress(address, length: length) : nil
      }
    }
  }

  /// Starts connecting `descriptor` to this address.
  func connect(_ descriptor: CInt) -> SystemCalls.Outcome {
    unsafe withAddress { unsafe Glibc.connect(descriptor, $0, $1) }
  }

  /// Binds `descriptor` to this address.
  func bind(_ descriptor: CInt) -> SystemCalls.Outcome {
    unsafe withAddress { unsafe Glibc.bind(descriptor, $0, $1) }
  }

  private func withAddress(_ call: (UnsafePointer<sockaddr>, socklen_t) -> CInt) -> SystemCalls.Outcome {
    var core = core
    var storage = sockaddr_storage()
    let length = unsafe csc_address_to_sockaddr(&core, &storage)
    return unsafe withUnsafePointer(to: &storage) { storage in
      unsafe storage.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        unsafe SystemCalls.Outcome(Int(call(address, length)))
      }
    }
  }
}
