import Glibc
import TCPServerKit

/// A client made of system calls alone, so that a test of the library does not lean on the library.
///
/// On loopback the kernel completes a connection before `connect` returns, unless the server's queue is full.
final class PlainClient {
  enum Input: Equatable {
    case bytes([UInt8])
    /// The server has ended its side.
    case end
    case failed(CInt)
    case nothing
  }

  private(set) var descriptor: CInt = -1

  /// Connects within the limit of a test; nil when that fails.
  ///
  /// - Parameters:
  ///   - address: a literal, IPv6 with its scope.
  ///   - local: the literal to bind to first.
  init?(_ address: String = "127.0.0.1", port: UInt16, from local: String? = nil) {
    guard begin(address, port: port, from: local), finish() else {
      end()
      return nil
    }
  }

  /// Connects to a server that listens on loopback or everywhere.
  convenience init?(to server: TCPServer) {
    self.init(server.serverAddress.isIPv6 ? "::1" : "127.0.0.1", port: server.serverPort)
  }

  deinit {
    end()
  }

  private func begin(_ address: String, port: UInt16, from local: String?) -> Bool {
    guard let remote = Endpoint(address, port: port) else { return false }
    let type = CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    descriptor = socket(remote.family, type, 0)
    guard descriptor >= 0 else { return false }
    if let local {
      guard let local = Endpoint(local, port: 0), local.bind(descriptor) else { return false }
    }
    return remote.connect(descriptor) || errno == EINPROGRESS
  }

  private func finish() -> Bool {
    guard wait(for: POLLOUT) else { return false }
    var failure: CInt = 0
    var length = socklen_t(MemoryLayout<CInt>.size)
    return unsafe getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &failure, &length) == 0 && failure == 0
  }

  /// This end's port, by which a server knows the client.
  var port: UInt16 {
    Endpoint(localOf: descriptor)?.port ?? 0
  }

  @discardableResult
  func send(_ text: String) -> Bool {
    let bytes = Array(text.utf8)
    return unsafe Glibc.send(descriptor, bytes, bytes.count, CInt(MSG_NOSIGNAL)) == bytes.count
  }

  /// Whether the end of input was read.
  private(set) var hasEnded = false

  /// What is there now.
  func input(atMost limit: Int = .max) -> Input {
    var buffer = [UInt8](repeating: 0, count: min(limit, 65536))
    let count = unsafe recv(descriptor, &buffer, buffer.count, CInt(MSG_DONTWAIT))
    switch count {
    case 0:
      hasEnded = true
      return .end
    case 1...: return .bytes(Array(buffer[..<count]))
    default: return errno == EAGAIN ? .nothing : .failed(errno)
    }
  }

  /// Reads what is there now, up to a number of bytes, and says how many there were.
  func receivedCount(atMost limit: Int = .max) -> Int {
    var count = 0
    while count < limit, case .bytes(let bytes) = input(atMost: limit - count) {
      count += bytes.count
    }
    return count
  }

  /// What comes first, within the limit of a test; for servers that need no loop meanwhile.
  func nextInput() -> Input {
    _ = wait(for: POLLIN)
    return input()
  }

  func closeWriting() {
    shutdown(descriptor, CInt(SHUT_WR))
  }

  /// Ends the connection in order.
  func end() {
    if descriptor >= 0 {
      close(descriptor)
    }
    descriptor = -1
  }

  /// Ends the connection with a reset.
  func reset() {
    var option = linger(l_onoff: 1, l_linger: 0)
    unsafe setsockopt(
      descriptor,
      SOL_SOCKET,
      SO_LINGER,
      &option,
      socklen_t(MemoryLayout<linger>.size)
    )
    end()
  }

  private func wait(for events: CInt) -> Bool {
    var entry = pollfd(fd: descriptor, events: Int16(events), revents: 0)
    return unsafe poll(&entry, 1, CInt(Loop.limit / .milliseconds(1))) == 1
  }
}
