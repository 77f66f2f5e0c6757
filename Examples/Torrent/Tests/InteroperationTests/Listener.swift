// SPDX-License-Identifier: Apache-2.0

import Foundation
import ProgramTesting

/// A listening socket on a port of all addresses.
final class Listener: Sendable {
  let port: UInt16
  private let descriptor: Int32

  /// Nil when the port is taken; port 0 is one that the kernel picks.
  init?(port: UInt16 = 0) {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    var yes: Int32 = 1
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
    let listens = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, length) == 0 && listen(descriptor, 16) == 0
          && getsockname(descriptor, $0, &length) == 0
      }
    }
    self.descriptor = descriptor
    self.port = UInt16(bigEndian: address.sin_port)
    // The end of it closes the descriptor, too.
    guard listens else { return nil }
  }

  deinit {
    close(descriptor)
  }

  /// The next connection; nil when none comes within that time.
  func accept(within limit: Duration) -> Connection? {
    var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    guard poll(&entry, 1, Int32(limit / .milliseconds(1))) > 0 else { return nil }
    let accepted = Foundation.accept(descriptor, nil, nil)
    guard accepted >= 0 else { return nil }
    _ = fcntl(accepted, F_SETFD, FD_CLOEXEC)
    return Connection(descriptor: accepted)
  }
}
