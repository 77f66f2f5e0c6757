// SPDX-License-Identifier: Apache-2.0

import Glibc

/// The file of a descriptor number now. Numbers are used again at once, by tests on other threads as well,
/// so "closed" can only mean "no longer this file".
struct OpenFile: Equatable {
  let descriptor: CInt
  private let device: UInt64
  private let inode: UInt64

  /// Nil when the descriptor is not open.
  init?(_ descriptor: CInt) {
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else { return nil }
    self.descriptor = descriptor
    device = UInt64(status.st_dev)
    inode = UInt64(status.st_ino)
  }

  /// Whether the number is still this file's.
  var isOpen: Bool {
    OpenFile(descriptor) == self
  }
}

/// The flags of a descriptor and of the file behind it.
struct DescriptorFlags: Equatable {
  let status: CInt
  let descriptor: CInt

  init(_ number: CInt) {
    status = fcntl(number, F_GETFL)
    descriptor = fcntl(number, F_GETFD)
  }

  var isNonBlocking: Bool {
    status >= 0 && status & O_NONBLOCK != 0
  }

  var isCloseOnExec: Bool {
    descriptor >= 0 && descriptor & FD_CLOEXEC != 0
  }
}

enum Descriptors {
  /// A stream socket without options; -1 when there is none to be had.
  static func stream(_ family: CInt = AF_INET) -> CInt {
    socket(family, CInt(SOCK_STREAM.rawValue), 0)
  }

  /// A blocking socket that listens on loopback at a port of the kernel's choice; -1 when that fails.
  static func listening(on address: String = "127.0.0.1") -> CInt {
    guard let endpoint = Endpoint(address, port: 0) else { return -1 }
    let descriptor = stream(endpoint.family)
    guard endpoint.bind(descriptor), listen(descriptor, 10) == 0 else {
      close(descriptor)
      return -1
    }
    return descriptor
  }

  /// The end of a pipe to read from; -1 when there is none to be had.
  static func pipeEnd() -> CInt {
    var ends: [CInt] = [-1, -1]
    guard unsafe pipe(&ends) == 0 else { return -1 }
    close(ends[1])
    return ends[0]
  }

  /// A socket option that is a number; nil where the kernel does not say.
  static func option(_ descriptor: CInt, _ level: CInt, _ name: CInt) -> CInt? {
    var value: CInt = 0
    var length = socklen_t(MemoryLayout<CInt>.size)
    return unsafe getsockopt(descriptor, level, name, &value, &length) == 0 ? value : nil
  }

  static func isOpen(_ descriptor: CInt) -> Bool {
    fcntl(descriptor, F_GETFD) >= 0
  }

  /// How many descriptors this process has open. Other tests open and close theirs meanwhile, so this means
  /// something in a process of one's own only.
  static func census() -> (sockets: Int, others: Int) {
    let numbers = (0..<CInt(min(sysconf(CInt(_SC_OPEN_MAX)), 65536))).filter { isOpen($0) }
    let sockets = numbers.count { linkTarget(of: "/proc/self/fd/\($0)").hasPrefix("socket:") }
    return (sockets, numbers.count - sockets)
  }
}
