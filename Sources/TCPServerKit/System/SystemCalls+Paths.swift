// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// UNIX sockets, and what is otherwise for them.
extension SystemCalls {
  /// The most bytes of a path, without its NUL.
  static let mostBytesOfPath = 107

  static func isUnix(_ descriptor: CInt) -> Bool {
    option(descriptor, SOL_SOCKET, SO_DOMAIN) == AF_UNIX
  }

  /// Throws away what has arrived without copying it; of a UNIX socket, which cannot do that, a part of it.
  static func discardInput(_ descriptor: CInt, atMost count: Int) -> Outcome {
    let flags = CInt(MSG_TRUNC | MSG_DONTWAIT)
    let outcome = Outcome(recv(descriptor, nil, count, flags))
    guard case .failed(EFAULT) = outcome else { return outcome }
    return unsafe withUnsafeTemporaryAllocation(byteCount: min(count, 16384), alignment: 1) {
      unsafe receive(descriptor, into: $0)
    }
  }

  /// Connects a socket to a path, or to the abstract name after an `@`; nil where it has none, a NUL, or more than 107 bytes.
  static func connect(_ descriptor: CInt, toPath path: String) -> Outcome? {
    let bytes = Array(path.utf8)
    let isAbstract = bytes.first == UInt8(ascii: "@")
    guard (isAbstract ? 2 : 1)...mostBytesOfPath ~= bytes.count, !bytes.contains(0) else { return nil }
    var name = sockaddr_un()
    name.sun_family = sa_family_t(AF_UNIX)
    unsafe withUnsafeMutableBytes(of: &name.sun_path) { room in
      unsafe room.copyBytes(from: bytes)
      if isAbstract { unsafe room[0] = 0 }
    }
    // Every byte counts in an abstract name; a path has its NUL.
    let offset = MemoryLayout<sockaddr_un>.offset(of: \.sun_path) ?? 0
    let length = socklen_t(offset + bytes.count + (isAbstract ? 0 : 1))
    return unsafe withUnsafePointer(to: &name) { name in
      unsafe name.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        unsafe connect(descriptor, to: address, length)
      }
    }
  }
}
