// SPDX-License-Identifier: Apache-2.0

import Glibc

// What the kernel knows of a descriptor: waiting for it, and taking it.
extension Descriptors {
  @discardableResult
  static func setOption(_ descriptor: CInt, _ level: CInt, _ name: CInt, _ value: CInt) -> Bool {
    var value = value
    return unsafe setsockopt(descriptor, level, name, &value, socklen_t(MemoryLayout<CInt>.size)) == 0
  }

  /// What is there now.
  static func receive(_ descriptor: CInt, maxLength: Int) -> PlainClient.Input {
    var count = 0
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: maxLength) { buffer, initialized in
      unsafe count = Int(recv(descriptor, buffer.baseAddress, maxLength, CInt(MSG_DONTWAIT)))
      initialized = max(count, 0)
    }
    guard count >= 0 else { return errno == EAGAIN ? .nothing : .failed(errno) }
    return count == 0 ? .end : .bytes(bytes)
  }

  /// Waits until the kernel reports one of `events`, an error or a hang-up.
  static func wait(_ descriptor: CInt, for events: CInt, msec: CInt = 60_000) -> Bool {
    var entry = pollfd(fd: descriptor, events: Int16(events), revents: 0)
    var ready: CInt
    repeat {
      // A signal of another test, for whichever thread the kernel likes, ends no wait.
      ready = unsafe poll(&entry, 1, msec)
    } while ready < 0 && errno == EINTR
    return ready == 1
  }

  /// Waits until something has arrived.
  static func waitReadable(_ descriptor: CInt) -> Bool {
    wait(descriptor, for: POLLIN)
  }

  /// Waits until the other side has ended its own.
  static func waitEnded(_ descriptor: CInt) -> Bool {
    wait(descriptor, for: 0x2000)  // POLLRDHUP, which the C library hides without _GNU_SOURCE
  }

  /// Waits until the connection is reset.
  static func waitReset(_ descriptor: CInt) -> Bool {
    wait(descriptor, for: 0)
  }

  /// Waits until this many bytes have arrived.
  static func waitForBytes(_ descriptor: CInt, _ count: Int) -> Bool {
    let deadline = ContinuousClock.now + Loop.limit
    while ContinuousClock.now < deadline {
      var available: CInt = 0
      if unsafe ioctl(descriptor, UInt(FIONREAD), &available) == 0, Int(available) >= count {
        return true
      }
      sched_yield()
    }
    return false
  }

  /// Waits until there is room to write.
  static func waitWritable(_ descriptor: CInt) -> Bool {
    wait(descriptor, for: POLLOUT)
  }

  static func closeIfOpen(_ descriptor: CInt) {
    if descriptor >= 0 {
      close(descriptor)
    }
  }
}
