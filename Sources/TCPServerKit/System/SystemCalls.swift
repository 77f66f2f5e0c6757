// SPDX-License-Identifier: Apache-2.0

// Every system call of the Swift side, with its flags: what a port to another system changes is here.
// Descriptors are close-on-exec and non-blocking from the start, and no send raises SIGPIPE.

internal import CLibevent
internal import Glibc

enum SystemCalls {
  /// What a call returned, or the errno it failed with.
  enum Outcome {
    case value(Int)
    case failed(CInt)

    init(_ result: Int) {
      self = result < 0 ? .failed(errno) : .value(result)
    }

    /// Whether the call had nothing to do rather than a reason to fail.
    var wouldBlock: Bool {
      if case .failed(let errnum) = self {
        return errnum == EAGAIN || errnum == EWOULDBLOCK || errnum == EINTR
      }
      return false
    }
  }

  static func closeDescriptor(_ descriptor: CInt) {
    close(descriptor)
  }

  /// A stream that sends small writes at once, and has urgent bytes in line, as accepted connections do.
  static func openStream(family: CInt) -> Outcome {
    let outcome = Outcome(Int(aboveStandard(socket(family, CInt(SOCK_STREAM.rawValue) | streamFlags, 0))))
    if case .value(let descriptor) = outcome {
      keepUrgentBytesInLine(CInt(descriptor))
      if family != AF_UNIX { _ = setOption(CInt(descriptor), CInt(IPPROTO_TCP), TCP_NODELAY, 1) }
    }
    return outcome
  }

  static func connect(_ descriptor: CInt, to address: UnsafePointer<sockaddr>, _ length: socklen_t) -> Outcome
  {
    unsafe Outcome(Int(Glibc.connect(descriptor, address, length)))
  }

  static func bind(_ descriptor: CInt, to address: UnsafePointer<sockaddr>, _ length: socklen_t) -> Outcome {
    unsafe Outcome(Int(Glibc.bind(descriptor, address, length)))
  }

  /// This side's address of a socket, or the peer's; nil, with errno, where there is none.
  static func name<Result>(
    of descriptor: CInt,
    isPeer: Bool,
    _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result?
  ) -> Result? {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    return unsafe withUnsafeMutablePointer(to: &storage) { storage in
      unsafe storage.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        let call = unsafe isPeer ? getpeername : getsockname
        return unsafe call(descriptor, address, &length) == 0 ? body(address, length) : nil
      }
    }
  }

  static func keepUrgentBytesInLine(_ descriptor: CInt) {
    _ = setOption(descriptor, SOL_SOCKET, SO_OOBINLINE, 1)
  }

  /// Moves a descriptor that has one of the numbers of standard input and output, which the process was started
  /// without: what the program prints must not get there.
  static func aboveStandard(_ descriptor: CInt) -> CInt {
    guard (0...STDERR_FILENO).contains(descriptor) else { return descriptor }
    let moved = fcntl(descriptor, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)
    let reason = errno
    close(descriptor)
    errno = reason
    return moved
  }

  private static var streamFlags: CInt {
    CInt(SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
  }

  static func receive(_ descriptor: CInt, into buffer: UnsafeMutableRawBufferPointer) -> Outcome {
    unsafe Outcome(recv(descriptor, buffer.baseAddress, buffer.count, CInt(MSG_DONTWAIT)))
  }

  static func transmit(_ descriptor: CInt, _ bytes: UnsafeRawBufferPointer) -> Outcome {
    let flags = CInt(MSG_NOSIGNAL | MSG_DONTWAIT)
    return unsafe Outcome(send(descriptor, bytes.baseAddress, bytes.count, flags))
  }

  /// Looks whether a read would find something, without reading.
  static func peekInput(_ descriptor: CInt) -> Outcome {
    var byte: UInt8 = 0
    let flags = CInt(MSG_PEEK | MSG_DONTWAIT)
    return unsafe Outcome(recv(descriptor, &byte, 1, flags))
  }

  /// How many pieces one call sends at most; Linux takes up to 1,024.
  private static let mostPieces = 64

  /// Sends several pieces with one call, from a number of bytes on.
  static func transmit(_ descriptor: CInt, _ pieces: [[UInt8]], from start: Int) -> Outcome {
    var vectors: [iovec] = unsafe []
    var skipped = 0
    var message = unsafe msghdr()
    let flags = CInt(MSG_NOSIGNAL | MSG_DONTWAIT)
    func gather(_ index: Int) -> Outcome {
      guard index < pieces.count, unsafe vectors.count < mostPieces else {
        guard unsafe !vectors.isEmpty else { return .value(0) }
        return unsafe vectors.withUnsafeMutableBufferPointer { vectors in
          unsafe message.msg_iov = vectors.baseAddress
          unsafe message.msg_iovlen = vectors.count
          return unsafe Outcome(sendmsg(descriptor, &message, flags))
        }
      }
      let from = max(start - skipped, 0)
      skipped += pieces[index].count
      guard from < pieces[index].count else { return gather(index + 1) }
      // Nested, so that each piece stays where it is until all are sent.
      return unsafe pieces[index].withUnsafeBytes { bytes in
        let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[from...])
        unsafe vectors.append(
          iovec(iov_base: UnsafeMutableRawPointer(mutating: rest.baseAddress), iov_len: rest.count)
        )
        return gather(index + 1)
      }
    }
    return gather(0)
  }

  static func endWriting(_ descriptor: CInt) {
    shutdown(descriptor, CInt(SHUT_WR))
  }

  /// Makes closing the descriptor reset the connection.
  static func resetOnClose(_ descriptor: CInt) {
    var option = linger(l_onoff: 1, l_linger: 0)
    unsafe setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
  }

  /// Whether the connection was reset, or has otherwise ended on both sides.
  static func hangUp(_ descriptor: CInt) -> (isError: Bool, isOver: Bool) {
    guard case .value(let events) = wait(for: descriptor, 0, until: .now) else { return (false, false) }
    return (events & Int(POLLERR) != 0, events & Int(POLLHUP) != 0)
  }

  /// How many bytes have arrived that were not read.
  static func unreadBytes(_ descriptor: CInt) -> Int {
    var count: CInt = 0
    return unsafe ioctl(descriptor, UInt(FIONREAD), &count) == 0 ? Int(max(count, 0)) : 0
  }

  /// Waits for one descriptor; signals do not shorten it.
  ///
  /// - Returns: the events that are there, 0 when the deadline passed.
  static func wait(
    for descriptor: CInt,
    _ events: CInt,
    until deadline: ContinuousClock.Instant?
  ) -> Outcome {
    var entry = pollfd(fd: descriptor, events: Int16(events), revents: 0)
    while true {
      let ready = unsafe poll(&entry, 1, milliseconds(until: deadline))
      if ready > 0 {
        return .value(Int(entry.revents))
      }
      if ready < 0 && errno != EINTR {
        return .failed(errno)
      }
      if let deadline, ContinuousClock.now >= deadline {
        return .value(0)
      }
    }
  }

  /// A descriptor that something waits for.
  typealias Awaited = (descriptor: CInt, forWriting: Bool)

  /// Waits for any of several descriptors, or until the deadline; a signal may shorten it.
  ///
  /// - Returns: how many are ready.
  static func waitForAny(_ descriptors: [Awaited], until deadline: ContinuousClock.Instant?) -> Outcome {
    var entries = descriptors.map {
      pollfd(fd: $0.descriptor, events: Int16($0.forWriting ? POLLOUT : POLLIN), revents: 0)
    }
    let outcome = unsafe Outcome(Int(poll(&entries, nfds_t(entries.count), milliseconds(until: deadline))))
    if case .failed(EINTR) = outcome { return .value(0) }
    return outcome
  }

  /// Whether there is something to read now, the end of input or an error included.
  static func isReadable(_ descriptor: CInt) -> Bool {
    isReady(wait(for: descriptor, POLLIN, until: .now))
  }

  /// Whether there is room to write now.
  static func isWritable(_ descriptor: CInt) -> Bool {
    isReady(wait(for: descriptor, POLLOUT, until: .now))
  }

  /// Whether a connection is still being made. Asked of the connection itself: a poll that fails says nothing, and a
  /// loop that has seen the end of the attempt would see it for ever.
  static func isConnecting(_ descriptor: CInt) -> Bool {
    // struct tcp_info of <linux/tcp.h> begins with tcpi_state.
    var state: UInt8 = 0
    var length = socklen_t(MemoryLayout<UInt8>.size)
    guard unsafe getsockopt(descriptor, CInt(IPPROTO_TCP), TCP_INFO, &state, &length) == 0 else {
      return !isWritable(descriptor)
    }
    return CInt(state) == CInt(TCP_SYN_SENT)
  }

  private static func isReady(_ events: Outcome) -> Bool {
    if case .value(let events) = events { events != 0 } else { false }
  }

  private static func milliseconds(until deadline: ContinuousClock.Instant?) -> CInt {
    guard let deadline else { return -1 }
    let (seconds, attoseconds) = (deadline - .now).components
    guard seconds >= 0, attoseconds >= 0 else { return 0 }
    guard seconds < 1_000_000 else { return 1_000_000_000 }
    // Rounded up, so that the last round does not spin.
    return CInt(seconds * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000)
  }

  static func option(_ descriptor: CInt, _ level: CInt, _ name: CInt) -> CInt? {
    var value: CInt = 0
    var length = socklen_t(MemoryLayout<CInt>.size)
    return unsafe getsockopt(descriptor, level, name, &value, &length) == 0 ? value : nil
  }

  /// How many bytes of a connection the peer has acknowledged. Only to be compared: where the kernel does not count
  /// them, another number takes their place, which changes as bytes are sent and acknowledged.
  static func acknowledgedBytes(_ descriptor: CInt) -> UInt64 {
    // struct tcp_info of <linux/tcp.h>; the C library's own ends before tcpi_bytes_acked.
    let offset = 120
    var info = [UInt8](repeating: 0, count: 192)
    var length = socklen_t(info.count)
    guard unsafe getsockopt(descriptor, CInt(IPPROTO_TCP), TCP_INFO, &info, &length) == 0,
      Int(length) >= offset + MemoryLayout<UInt64>.size
    else { return UInt64(unacknowledgedBytes(descriptor)) }
    return unsafe info.withUnsafeBytes { unsafe $0.loadUnaligned(fromByteOffset: offset, as: UInt64.self) }
  }

  /// How many bytes the kernel holds that the peer has not acknowledged, an end of output counting as one.
  static func unacknowledgedBytes(_ descriptor: CInt) -> Int {
    var count: CInt = 0
    return unsafe ioctl(descriptor, UInt(TIOCOUTQ), &count) == 0 ? Int(max(count, 0)) : 0
  }

  static func setOption(_ descriptor: CInt, _ level: CInt, _ name: CInt, _ value: CInt) -> Bool {
    var value = value
    return unsafe setsockopt(descriptor, level, name, &value, socklen_t(MemoryLayout<CInt>.size)) == 0
  }

  /// Makes a descriptor from outside non-blocking and close-on-exec; on failure it is as it was.
  static func prepareAdopted(_ descriptor: CInt) -> Bool {
    let status = fcntl(descriptor, F_GETFL)
    let flags = fcntl(descriptor, F_GETFD)
    guard status >= 0, flags >= 0, fcntl(descriptor, F_SETFL, status | O_NONBLOCK) == 0 else {
      return false
    }
    guard fcntl(descriptor, F_SETFD, flags | FD_CLOEXEC) == 0 else {
      _ = fcntl(descriptor, F_SETFL, status)
      return false
    }
    return true
  }

  /// Of the open file, and of the descriptor.
  typealias DescriptorFlags = (status: CInt, descriptor: CInt)

  static func flags(of descriptor: CInt) -> DescriptorFlags {
    (fcntl(descriptor, F_GETFL), fcntl(descriptor, F_GETFD))
  }

  static func setFlags(_ flags: DescriptorFlags, of descriptor: CInt) {
    guard flags.status >= 0, flags.descriptor >= 0 else { return }
    _ = fcntl(descriptor, F_SETFL, flags.status)
    _ = fcntl(descriptor, F_SETFD, flags.descriptor)
  }

  /// Close-on-exec, and none of standard input and output; -1 when there is none to be had.
  static func duplicate(_ descriptor: CInt) -> CInt {
    fcntl(descriptor, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)
  }

  /// A descriptor that any thread can make readable; -1 when there is none to be had.
  static func openEventDescriptor() -> CInt {
    aboveStandard(eventfd(0, CInt(EFD_CLOEXEC | EFD_NONBLOCK)))
  }

  /// A timer that is a descriptor, readable when its time is over: it costs a loop nothing until then, where a timer of
  /// libevent's costs each turn. -1 when there is none to be had.
  static func openTimer() -> CInt {
    aboveStandard(timerfd_create(CLOCK_MONOTONIC, CInt(TFD_CLOEXEC | TFD_NONBLOCK)))
  }

  /// Starts it again; it is not readable until its time is over.
  static func startTimer(_ timer: CInt, nanoseconds: Int64) {
    let time = timespec(
      tv_sec: time_t(nanoseconds / 1_000_000_000),
      tv_nsec: Int(nanoseconds % 1_000_000_000)
    )
    var value = itimerspec(it_interval: timespec(), it_value: time)
    unsafe _ = timerfd_settime(timer, 0, &value, nil)
  }

  /// Calls `body` if there are that many descriptors to be had now. What it opens has no number of standard input or
  /// output.
  static func withDescriptors<Result>(_ count: Int, _ body: () -> Result?) -> Result? {
    var standard: [CInt] = []
    var opened: [CInt] = []
    defer { standard.forEach(closeDescriptor) }
    while opened.count < count {
      let descriptor = eventfd(0, CInt(EFD_CLOEXEC | EFD_NONBLOCK))
      guard descriptor >= 0 else { break }
      if descriptor <= STDERR_FILENO { standard.append(descriptor) } else { opened.append(descriptor) }
    }
    opened.forEach(closeDescriptor)
    return opened.count == count ? body() : nil
  }

  /// Makes an event descriptor readable. Fails only when its counter is full, and then it is readable.
  static func signal(_ eventDescriptor: CInt) {
    var one: UInt64 = 1
    _ = unsafe write(eventDescriptor, &one, MemoryLayout<UInt64>.size)
  }

  static func clear(_ eventDescriptor: CInt) {
    _ = takeCount(eventDescriptor)
  }

  /// How often it was made readable since it was last cleared.
  static func takeCount(_ eventDescriptor: CInt) -> Int {
    var count: UInt64 = 0
    return unsafe read(eventDescriptor, &count, MemoryLayout<UInt64>.size) > 0 ? Int(clamping: count) : 0
  }

  /// The errno of a call that is not about a connection.
  struct Failure: Error {
    let errnum: CInt

    /// For a person.
    var text: String {
      unsafe clibevent_errno_text(errnum).map { unsafe String(cString: $0) } ?? "errno \(errnum)"
    }
  }

  /// A small file of the kernel's.
  static func contents(of path: String) -> Result<String, Failure> {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return .failure(Failure(errnum: errno)) }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 16384)
    let count = unsafe read(descriptor, &bytes, bytes.count)
    guard count >= 0 else { return .failure(Failure(errnum: errno)) }
    return .success(String(decoding: bytes.prefix(count), as: UTF8.self))
  }

  /// How many entries a folder has, not counting the descriptor by which it is read, should the folder be that of the
  /// process's descriptors.
  static func entryCount(_ path: String) -> Result<Int, Failure> {
    guard let folder = unsafe opendir(path) else { return .failure(Failure(errnum: errno)) }
    defer { unsafe closedir(folder) }
    let own = unsafe String(dirfd(folder))
    var count = 0
    while let entry = unsafe readdir(folder) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { name in
        unsafe name.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
      }
      count += name == "." || name == ".." || name == own ? 0 : 1
    }
    return .success(count)
  }

  static func isOpen(_ descriptor: CInt) -> Bool {
    fcntl(descriptor, F_GETFD) >= 0
  }

  /// Writes a line to standard error, except to a pipe whose reader has gone: that would end the process.
  static func warn(_ text: String) {
    guard !hangUp(STDERR_FILENO).isError else { return }
    let line = text + "\n"
    unsafe _ = write(STDERR_FILENO, line, line.utf8.count)
  }
}
