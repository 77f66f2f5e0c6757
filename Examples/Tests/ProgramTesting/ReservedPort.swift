// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A port of 127.0.0.1 that no server of another test gets: connections to it are refused, or wait if it listens.
package final class ReservedPort {
  private let descriptor: Int32
  package let number: UInt16

  /// Nil when the system gives none.
  package init?(listening: Bool = false) {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let bound = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, size) == 0 && (!listening || listen(descriptor, 1) == 0)
          && getsockname(descriptor, $0, &size) == 0
      }
    }
    guard bound else {
      close(descriptor)
      return nil
    }
    self.descriptor = descriptor
    number = UInt16(bigEndian: address.sin_port)
  }

  /// Connections to it wait from now on, one more than the backlog of 1 says; further ones are not answered.
  ///
  /// - Returns: whether it listens.
  package func startListening() -> Bool {
    listen(descriptor, 1) == 0
  }

  deinit {
    close(descriptor)
  }
}
