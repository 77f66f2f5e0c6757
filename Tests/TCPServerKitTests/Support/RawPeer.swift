import TCPServerKit

#if canImport(Glibc)
  import Glibc
#else
  import Musl
#endif

/// The other end of a connection: a plain blocking descriptor, so that a test sees what the kernel says.
///
/// Every call gives up after `Loop.limit`, with EAGAIN.
final class RawPeer {
  private(set) var descriptor: CInt

  struct Failed: Error {
    var call: String
    var errnum: CInt = errno
  }

  init(adopting descriptor: CInt) {
    self.descriptor = descriptor
    var limit = timeval(tv_sec: 10, tv_usec: 0)
    let size = socklen_t(MemoryLayout<timeval>.size)
    unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, size)
    unsafe setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, size)
  }

  /// Connects to a port of this machine.
  ///
  /// - Parameter receiveBuffer: if not 0, the size of the kernel's receive buffer. Below two segments, which
  ///   are 64 KiB on loopback, the kernel would wait for its timers.
  convenience init(port: UInt16, ipv6: Bool = false, receiveBuffer: CInt = 0) throws {
    guard let endpoint = Endpoint(ipv6 ? "::1" : "127.0.0.1", port: port) else {
      throw Failed(call: "getaddrinfo")
    }
    // Close-on-exec: a child of another test must not keep the connection open.
    let descriptor = socket(endpoint.family, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw Failed(call: "socket") }
    self.init(adopting: descriptor)
    if receiveBuffer > 0 {
      Descriptors.setOption(descriptor, SOL_SOCKET, SO_RCVBUF, receiveBuffer)
    }
    guard endpoint.connect(descriptor) else { throw Failed(call: "connect") }
  }

  deinit {
    close()
  }

  // MARK: - Sending

  /// Sends all of it; a peer that does not read makes this wait.
  @discardableResult
  func send(_ bytes: some Collection<UInt8>) -> Int {
    transmit(Array(bytes), flags: 0)
  }

  @discardableResult
  func send(_ text: String) -> Int {
    send(text.utf8)
  }

  /// Sends zeros until the kernel takes no more, or `count` of them.
  func sendWhatFits(_ count: Int) -> Int {
    transmit([UInt8](repeating: 0, count: count), flags: CInt(MSG_DONTWAIT))
  }

  private func transmit(_ bytes: [UInt8], flags: CInt) -> Int {
    var sent = 0
    while sent < bytes.count {
      let count = unsafe bytes.withUnsafeBytes { bytes in
        let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[sent...])
        return unsafe Int(Glibc.send(descriptor, rest.baseAddress, rest.count, flags | CInt(MSG_NOSIGNAL)))
      }
      guard count > 0 else { break }
      sent += count
    }
    return sent
  }

  // MARK: - Receiving

  enum Received: Equatable {
    case bytes([UInt8])
    case end
    case failed(CInt)
  }

  /// Waits for the next bytes.
  func receive(maxLength: Int = 65536) -> Received {
    Descriptors.receive(descriptor, maxLength: maxLength, flags: 0)
  }

  /// Takes what is there now.
  func receiveWithoutWaiting(maxLength: Int = 65536) -> Received {
    Descriptors.receive(descriptor, maxLength: maxLength, flags: CInt(MSG_DONTWAIT))
  }

  /// Waits for this many bytes; fewer when something else comes before them.
  func receive(exactly count: Int) -> [UInt8] {
    var all: [UInt8] = []
    while all.count < count, case .bytes(let bytes) = receive(maxLength: count - all.count) {
      all += bytes
    }
    return all
  }

  /// Reads until the end of input.
  func readToEnd() -> Delivery {
    Delivery.read(from: descriptor)
  }

  /// Reads until the end of input on a thread of its own.
  func readToEndElsewhere() -> Background<Delivery> {
    let descriptor = descriptor
    return Background { Delivery.read(from: descriptor) }
  }

  // MARK: - Ending

  /// Ends this side: the other one sees the end of input.
  func endWriting() {
    shutdown(descriptor, CInt(SHUT_WR))
  }

  func close() {
    guard descriptor >= 0 else { return }
    _ = Glibc.close(descriptor)
    descriptor = -1
  }

  /// Leaves the descriptor to whoever else has taken it.
  func forget() {
    descriptor = -1
  }

  /// Closes so that the other side is reset.
  func reset() {
    var option = linger(l_onoff: 1, l_linger: 0)
    unsafe setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
    close()
  }
}

/// What a peer has received at the end of its connection.
struct Delivery: Equatable, Sendable, CustomStringConvertible {
  var bytes: [UInt8] = []
  /// 0 when the end was a proper one.
  var errnum: CInt = 0

  static func read(from descriptor: CInt) -> Delivery {
    var delivery = Delivery()
    while true {
      switch Descriptors.receive(descriptor, maxLength: 1 << 18, flags: 0) {
      case .bytes(let bytes):
        delivery.bytes += bytes
      case .end:
        return delivery
      case .failed(let errnum):
        delivery.errnum = errnum
        return delivery
      }
    }
  }

  /// The delivery of exactly these bytes.
  static func whole(_ bytes: [UInt8]) -> Delivery {
    Delivery(bytes: bytes)
  }

  static func == (left: Delivery, right: Delivery) -> Bool {
    guard left.errnum == right.errnum, left.bytes.count == right.bytes.count else { return false }
    return unsafe left.bytes.withUnsafeBytes { left in
      unsafe right.bytes.withUnsafeBytes { right in
        guard let first = left.baseAddress, let second = right.baseAddress else { return true }
        return unsafe memcmp(first, second, left.count) == 0
      }
    }
  }

  var description: String {
    "\(bytes.count) bytes\(errnum == 0 ? "" : ", errno \(errnum)")"
  }
}

/// Bytes that differ from place to place, and from block to block.
func pattern(_ count: Int) -> [UInt8] {
  let block = (0..<65521).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 8) }
  var bytes: [UInt8] = []
  bytes.reserveCapacity(count)
  while bytes.count < count {
    bytes.append(UInt8(truncatingIfNeeded: bytes.count / 65522))
    bytes += block.prefix(count - bytes.count)
  }
  return bytes
}
