// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A connection on 127.0.0.1, with nothing but the system's calls. 30 seconds of silence end a wait for bytes, and
/// 20 in which the other end takes none end a wait for that, but for ``sendElsewhere(_:of:)``.
package final class Connection {
  private var descriptor: Int32

  /// A client's; nil when there is no listener.
  package convenience init?(port: UInt16) {
    self.init(descriptor: socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    let connected = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard connected == 0 else { return nil }
  }

  /// A socket that is the connection's from now on.
  package init(descriptor: Int32) {
    self.descriptor = descriptor
    limitWait(SO_RCVTIMEO, to: 30)
    limitWait(SO_SNDTIMEO, to: 20)
  }

  /// - Parameter seconds: 0 for no limit.
  private func limitWait(_ option: Int32, to seconds: Int) {
    var limit = timeval(tv_sec: seconds, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
  }

  deinit {
    if descriptor >= 0 { close(descriptor) }
  }

  /// By which the other end knows this one.
  package var localPort: UInt16 {
    var address = sockaddr_in()
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    withUnsafeMutablePointer(to: &address) { pointer in
      _ = pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
    }
    return UInt16(bigEndian: address.sin_port)
  }

  /// Sends everything; false when the connection broke.
  @discardableResult
  package func send(_ bytes: some Collection<UInt8>) -> Bool {
    let bytes = Array(bytes)
    var sent = 0
    while sent < bytes.count {
      let count = bytes[sent...].withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      guard count > 0 else { return false }
      sent += count
    }
    return true
  }

  /// Sends so many bytes, a pattern again and again, and ends this side; on a thread of its own, however long the other
  /// end takes none: it may be another client's turn.
  package func sendElsewhere(_ count: Int, of pattern: [UInt8]) {
    limitWait(SO_SNDTIMEO, to: 0)
    OwnThread { [self] in
      var left = count
      while left > 0 {
        guard send(left < pattern.count ? Array(pattern[..<left]) : pattern) else { return }
        left -= min(left, pattern.count)
      }
      endSending()
    }.detach()
  }

  package func endSending() {
    shutdown(descriptor, Int32(SHUT_WR))
  }

  /// Resets the connection: what was not sent yet is lost, and the other end gets an error.
  package func reset() {
    var hard = linger(l_onoff: 1, l_linger: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &hard, socklen_t(MemoryLayout<linger>.size))
    close(descriptor)
    descriptor = -1
  }

  /// That many bytes, or fewer when the connection ends before.
  package func receive(_ count: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    while bytes.count < count, let more = receiveSome(count - bytes.count), !more.isEmpty {
      bytes += more
    }
    return bytes
  }

  /// Whether bytes, the end or a failure arrive within so many milliseconds.
  package func isReadable(within milliseconds: Int32 = 0) -> Bool {
    var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&entry, 1, milliseconds) > 0
  }

  /// Everything up to the end; nil when it does not come in order.
  package func receiveToEnd() -> [UInt8]? {
    var bytes: [UInt8] = []
    while let more = receiveSome(65536) {
      guard !more.isEmpty else { return bytes }
      bytes += more
    }
    return nil
  }

  /// Whether the other end closes or resets it; what comes before is thrown away.
  package func isEnded() -> Bool {
    while true {
      guard let more = receiveSome(65536) else { return errno == ECONNRESET }
      if more.isEmpty { return true }
    }
  }

  private func receiveSome(_ most: Int) -> [UInt8]? {
    var chunk = [UInt8](repeating: 0, count: most)
    let count = recv(descriptor, &chunk, most, 0)
    return count < 0 ? nil : Array(chunk[..<count])
  }
}
