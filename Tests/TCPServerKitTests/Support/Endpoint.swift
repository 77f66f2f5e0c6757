// SPDX-License-Identifier: Apache-2.0

import Glibc

/// An address and port in the kernel's form, read by the C library rather than by the code under test.
struct Endpoint {
  private var storage = sockaddr_storage()
  private var length = socklen_t(MemoryLayout<sockaddr_storage>.size)

  /// Reads a literal; nil when the C library cannot.
  init?(_ literal: String, port: UInt16) {
    var hints = unsafe addrinfo()
    unsafe hints.ai_socktype = CInt(SOCK_STREAM.rawValue)
    unsafe hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV
    var found: UnsafeMutablePointer<addrinfo>?
    guard unsafe getaddrinfo(literal, String(port), &hints, &found) == 0, let found = unsafe found else {
      return nil
    }
    length = unsafe found.pointee.ai_addrlen
    unsafe withUnsafeMutableBytes(of: &storage) { bytes in
      unsafe bytes.copyMemory(
        from: UnsafeRawBufferPointer(start: found.pointee.ai_addr, count: Int(length))
      )
    }
    unsafe freeaddrinfo(found)
  }

  /// The address that a descriptor is bound to.
  init?(localOf descriptor: CInt) {
    guard unsafe read({ unsafe getsockname(descriptor, $0, $1) }) else { return nil }
  }

  /// The address that a descriptor is connected to; nil also when the peer has reset the connection.
  init?(peerOf descriptor: CInt) {
    guard unsafe read({ unsafe getpeername(descriptor, $0, $1) }) else { return nil }
  }

  private mutating func read(
    _ call: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> CInt
  ) -> Bool {
    unsafe withUnsafeMutablePointer(to: &storage) { storage in
      unsafe storage.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        unsafe call(address, &length) == 0
      }
    }
  }

  var family: CInt {
    CInt(storage.ss_family)
  }

  /// IPv4 and IPv6 keep it in the same place.
  var port: UInt16 {
    var storage = storage
    return unsafe withUnsafeBytes(of: &storage) { bytes in
      unsafe UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
    }
  }

  func bind(_ descriptor: CInt) -> Bool {
    unsafe withAddress { unsafe Glibc.bind(descriptor, $0, length) == 0 }
  }

  func connect(_ descriptor: CInt) -> Bool {
    unsafe withAddress { unsafe Glibc.connect(descriptor, $0, length) == 0 }
  }

  private func withAddress(_ body: (UnsafePointer<sockaddr>) -> Bool) -> Bool {
    var storage = storage
    return unsafe withUnsafePointer(to: &storage) { storage in
      unsafe storage.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe body($0) }
    }
  }
}
