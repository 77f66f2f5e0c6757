// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

/// A port, of 127.0.0.1 for example, that nothing listens on, and that the kernel gives to no other test: connections to it are
/// refused.
///
/// A server may listen on it by its number, for `SO_REUSEADDR` is set on both, and refuses again when it has closed.
final class ReservedPort {
  let number: UInt16
  private let descriptor: CInt

  /// - Parameters:
  ///   - number: a port that is free in the address's family; 0 for one of the kernel's choice.
  ///   - address: a literal; of IPv6 for that family alone.
  init(_ number: UInt16 = 0, of address: String = "127.0.0.1") throws {
    guard let endpoint = Endpoint(address, port: number) else { throw None() }
    descriptor = Descriptors.stream(endpoint.family)
    Descriptors.setOption(descriptor, SOL_SOCKET, SO_REUSEADDR, 1)
    if endpoint.family == AF_INET6 { Descriptors.setOption(descriptor, CInt(IPPROTO_IPV6), IPV6_V6ONLY, 1) }
    guard endpoint.bind(descriptor), let bound = Endpoint(localOf: descriptor) else {
      close(descriptor)
      throw None()
    }
    self.number = bound.port
  }

  deinit {
    close(descriptor)
  }

  struct None: Error {}
}
