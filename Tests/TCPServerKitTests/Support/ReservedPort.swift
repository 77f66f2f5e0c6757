import Glibc
import Synchronization
import Testing

/// A port of 127.0.0.1 that nothing listens on, and that the kernel gives to no other test: connections to it are
/// refused.
///
/// A server may listen on it by its number, for `SO_REUSEADDR` is set on both, and refuses again when it has closed.
final class ReservedPort {
  let number: UInt16
  private let descriptor: CInt

  init() throws {
    descriptor = Descriptors.stream()
    Descriptors.setOption(descriptor, SOL_SOCKET, SO_REUSEADDR, 1)
    guard Endpoint("127.0.0.1", port: 0)?.bind(descriptor) == true, let bound = Endpoint(localOf: descriptor)
    else {
      close(descriptor)
      throw None()
    }
    number = bound.port
  }

  deinit {
    close(descriptor)
  }

  struct None: Error {}
}

/// Ports for what cannot choose its own: below those that the kernel gives away, and no test gets another's.
enum FixedPort {
  private static let last = Atomic<UInt16>(20_000)

  static func next() -> UInt16 {
    last.add(1, ordering: .relaxed).newValue
  }
}
