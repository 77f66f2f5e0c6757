// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit

/// A client made of system calls alone, so that a test of the library does not lean on the library.
///
/// Its descriptor does not block: what waits does so within the limit of a test. On loopback the kernel completes
/// a connection before `connect` returns, unless the server's queue is full.
final class PlainClient {
  private(set) var descriptor: CInt = -1

  /// Takes a connection that is there already.
  init(adopting descriptor: CInt) {
    self.descriptor = descriptor
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
  }

  /// Connects within the limit of a test; nil when that fails.
  ///
  /// - Parameters:
  ///   - address: a literal, IPv6 with its scope.
  ///   - local: the literal to bind to first.
  ///   - receiveBuffer: if not 0, the size of the kernel's receive buffer. Below two segments, which are 64 KiB
  ///     on loopback, the kernel would wait for its timers.
  init?(
    _ address: String = "127.0.0.1",
    port: UInt16,
    from local: String? = nil,
    receiveBuffer: CInt = 0
  ) {
    guard begin(address, port: port, from: local, receiveBuffer), finish() else {
      end()
      return nil
    }
  }

  /// Connects to a server that listens on loopback or everywhere.
  convenience init?(to server: TCPServer, receiveBuffer: CInt = 0) {
    let address = server.serverAddress.isIPv6 ? "::1" : "127.0.0.1"
    self.init(address, port: server.serverPort, receiveBuffer: receiveBuffer)
  }

  deinit {
    end()
  }

  private func begin(_ address: String, port: UInt16, from local: String?, _ receiveBuffer: CInt) -> Bool {
    guard let remote = Endpoint(address, port: port) else { return false }
    // Close-on-exec: a child of another test must not keep the connection open.
    let type = CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    descriptor = socket(remote.family, type, 0)
    guard descriptor >= 0 else { return false }
    if receiveBuffer > 0 {
      Descriptors.setOption(descriptor, SOL_SOCKET, SO_RCVBUF, receiveBuffer)
    }
    if let local {
      guard let local = Endpoint(local, port: 0), local.bind(descriptor) else { return false }
    }
    return remote.connect(descriptor) || errno == EINPROGRESS
  }

  private func finish() -> Bool {
    Descriptors.waitWritable(descriptor) && Descriptors.option(descriptor, SOL_SOCKET, SO_ERROR) == 0
  }

  /// This end's port, by which a server knows the client.
  var port: UInt16 {
    Endpoint(localOf: descriptor)?.port ?? 0
  }

  // MARK: - Sending

  /// Sends all of it, waiting for a server that does not read; says how much went.
  @discardableResult
  func send(_ bytes: some Collection<UInt8>) -> Int {
    let bytes = Array(bytes)
    var sent = 0
    repeat {
      sent += transmit(bytes[sent...])
    } while sent < bytes.count && errno == EAGAIN && Descriptors.waitWritable(descriptor)
    return sent
  }

  @discardableResult
  func send(_ text: String) -> Int {
    send(text.utf8)
  }

  /// Sends zeros until the kernel takes no more, or `count` of them.
  func sendWhatFits(_ count: Int) -> Int {
    transmit([UInt8](repeating: 0, count: count)[...])
  }

  private func transmit(_ bytes: ArraySlice<UInt8>) -> Int {
    unsafe bytes.withUnsafeBytes { bytes in
      var sent = 0
      while sent < bytes.count {
        let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[sent...])
        let count = unsafe Glibc.send(descriptor, rest.baseAddress, rest.count, CInt(MSG_NOSIGNAL))
        guard count > 0 else { break }
        sent += count
      }
      return sent
    }
  }

  // MARK: - Receiving

  enum Input: Equatable {
    case bytes([UInt8])
    /// The server has ended its side.
    case end
    case failed(CInt)
    case nothing
  }

  /// Whether the end of input was read.
  private(set) var hasEnded = false

  /// What is there now.
  func input(atMost limit: Int = 65536) -> Input {
    let input = Descriptors.receive(descriptor, maxLength: limit)
    hasEnded = hasEnded || input == .end
    return input
  }

  /// Reads what is there now, up to a number of bytes, and says how many there were.
  func receivedCount(atMost limit: Int = .max) -> Int {
    var count = 0
    while count < limit, case .bytes(let bytes) = input(atMost: min(limit - count, 65536)) {
      count += bytes.count
    }
    return count
  }

  /// What comes first, within the limit of a test; for servers that need no loop meanwhile.
  func nextInput(atMost limit: Int = 65536) -> Input {
    _ = Descriptors.waitReadable(descriptor)
    return input(atMost: limit)
  }

  /// Waits for this many bytes; fewer when something else comes before them.
  func receive(exactly count: Int) -> [UInt8] {
    var all: [UInt8] = []
    while all.count < count, case .bytes(let bytes) = nextInput(atMost: count - all.count) {
      all += bytes
    }
    return all
  }

  /// Reads until the end of input.
  func readToEnd() -> Delivery {
    Delivery.read(from: descriptor)
  }

  /// Reads until the end of input on a thread of its own.
  ///
  /// - Parameter thenEnds: whether this side ends there as well.
  func readToEndElsewhere(thenEnds: Bool = false) -> Background<Delivery> {
    let descriptor = descriptor
    return Background {
      let delivery = Delivery.read(from: descriptor)
      if thenEnds { shutdown(descriptor, CInt(SHUT_WR)) }
      return delivery
    }
  }

  // MARK: - Ending

  /// Ends this side: the server sees the end of input.
  func endWriting() {
    shutdown(descriptor, CInt(SHUT_WR))
  }

  /// Ends the connection in order.
  func end() {
    if descriptor >= 0 {
      close(descriptor)
    }
    descriptor = -1
  }

  /// Leaves the descriptor to its new owner.
  func forget() {
    descriptor = -1
  }

  /// Ends the connection with a reset.
  func reset() {
    var option = linger(l_onoff: 1, l_linger: 0)
    unsafe setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
    end()
  }
}
