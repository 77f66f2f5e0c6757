// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

@testable import TCPServerKit

/// A service manager: a datagram socket by path, and what it has received.
final class FakeManager {
  let path: String
  private let folder: TemporaryFolder
  private let descriptor: CInt

  init() throws {
    folder = try TemporaryFolder()
    path = folder.path + "/notify"
    descriptor = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    var name = sockaddr_un()
    name.sun_family = sa_family_t(AF_UNIX)
    let path = Array(path.utf8)
    unsafe withUnsafeMutableBytes(of: &name.sun_path) { unsafe $0.copyBytes(from: path) }
    let isBound = unsafe withUnsafePointer(to: &name) { name in
      unsafe name.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
      }
    }
    try #require(isBound)
  }

  deinit {
    close(descriptor)
    unsafe unlink(path)
  }

  /// The next message, and the descriptor that came with it.
  ///
  /// - Parameter milliseconds: how long to wait for one; nil within the limit of a test.
  func receive(within milliseconds: CInt? = nil) -> (text: String, descriptor: CInt?)? {
    var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    guard unsafe poll(&entry, 1, milliseconds ?? CInt(Loop.limit / .milliseconds(1))) == 1 else { return nil }
    var bytes = [UInt8](repeating: 0, count: 512)
    var control = [UInt64](repeating: 0, count: 8)
    let count = unsafe bytes.withUnsafeMutableBytes { bytes in
      unsafe control.withUnsafeMutableBytes { control in
        var part = unsafe iovec(iov_base: bytes.baseAddress, iov_len: bytes.count)
        return unsafe withUnsafeMutablePointer(to: &part) { part in
          var message = unsafe msghdr()
          unsafe message.msg_iov = part
          unsafe message.msg_iovlen = 1
          unsafe message.msg_control = control.baseAddress
          unsafe message.msg_controllen = control.count
          return unsafe recvmsg(descriptor, &message, CInt(MSG_CMSG_CLOEXEC))
        }
      }
    }
    guard count >= 0 else { return nil }
    // struct cmsghdr: the length, the level and type, and then the descriptor.
    let passed = control[0] > 0 ? CInt(truncatingIfNeeded: control[2]) : nil
    return (String(decoding: bytes.prefix(count), as: UTF8.self), passed)
  }

  func texts(_ count: Int) -> [String] {
    (0..<count).compactMap { _ in receive()?.text }
  }
}

/// Messages to the service manager, as it receives them.
@Suite("Messages to the service manager", .blocking, .timeLimit(.minutes(5)))
struct ServiceNotifierTests {
  @Test("Each message is as sd_notify(3) describes it, in the order of the calls")
  func messages() throws {
    let manager = try FakeManager()
    let notifier = ServiceNotifier(manager: manager.path)
    #expect(notifier.ready())
    #expect(notifier.ready(status: "Serving"))
    #expect(notifier.status("42 connections"))
    #expect(notifier.mainProcess(4242))
    #expect(notifier.extendTimeout(by: .milliseconds(1500)))
    #expect(notifier.removeStored(name: "http"))
    #expect(notifier.stopping())
    #expect(
      manager.texts(7) == [
        "READY=1", "READY=1\nSTATUS=Serving", "STATUS=42 connections", "MAINPID=4242",
        "EXTEND_TIMEOUT_USEC=1500000", "FDSTOREREMOVE=1\nFDNAME=http", "STOPPING=1",
      ]
    )
  }

  @Test("A reload has its time, by the monotonic clock in microseconds")
  func reloading() throws {
    let manager = try FakeManager()
    var before = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &before)
    #expect(ServiceNotifier(manager: manager.path).reloading())
    let text = try #require(manager.receive()?.text)
    #expect(text.hasPrefix("RELOADING=1\nMONOTONIC_USEC="))
    let time = try #require(text.split(separator: "=").last.flatMap { Int($0) })
    #expect(time >= before.tv_sec * 1_000_000 + before.tv_nsec / 1000)
  }

  @Test("A status is one line, whatever it holds")
  func line() throws {
    let manager = try FakeManager()
    let notifier = ServiceNotifier(manager: manager.path)
    notifier.status("one\nSTOPPING=1\r\n\0two")
    notifier.ready(status: "é\n")
    #expect(manager.texts(2) == ["STATUS=one STOPPING=1   two", "READY=1\nSTATUS=é "])
  }

  @Test("A stored descriptor is the same file, and its name is checked")
  func store() throws {
    let manager = try FakeManager()
    let notifier = ServiceNotifier(manager: manager.path)
    let listener = Descriptors.listening()
    defer { close(listener) }
    for name in ["", "a:b", "a\nb", "é", String(repeating: "x", count: 256)] {
      #expect(!notifier.store(listener, name: name))
      #expect(!notifier.removeStored(name: name))
    }
    #expect(!notifier.store(-1, name: "http"))
    #expect(notifier.store(listener, name: "http"))
    let message = try #require(manager.receive())
    #expect(message.text == "FDSTORE=1\nFDNAME=http")
    let stored = try #require(message.descriptor)
    defer { close(stored) }
    #expect(Endpoint(localOf: stored)?.port == Endpoint(localOf: listener)?.port)
  }

  @Test("Without a manager that reads, calls fail")
  func gone() throws {
    let path = try FakeManager().path
    #expect(!ServiceNotifier(manager: path).ready())
    #expect(!ServiceNotifier(manager: "vsock:2:1").ready())
  }

  @Test("A barrier ends when the manager has closed what came with it, or in time")
  func barrier() async throws {
    let manager = try FakeManager()
    let notifier = ServiceNotifier(manager: manager.path)
    // At once: a child task would wait for a thread behind other tests.
    let reading = Task.immediate { await notifier.barrier(timeout: .seconds(240)) }
    let message = try #require(manager.receive())
    #expect(message.text == "BARRIER=1")
    close(try #require(message.descriptor))
    #expect(await reading.value)
    #expect(await !notifier.barrier(timeout: .zero))
  }

  @Test("The environment says where the manager is, and what it wants")
  func environment() throws {
    let manager = try FakeManager()
    let variables = ["NOTIFY_SOCKET=\(manager.path)", "WATCHDOG_USEC=30000000"]
    let child = try #require(ChildProcess("LoopPrograms", environment: variables, "notifies"))
    #expect(child.readLine() == "watchdog 30.0 seconds\n")
    #expect(manager.texts(2) == ["READY=1\nSTATUS=Serving", "STOPPING=1"])
    let barrier = try #require(manager.receive())
    #expect(barrier.text == "BARRIER=1")
    close(try #require(barrier.descriptor))
    #expect(child.readLine() == "read: true\n")
    #expect(child.readLine() == "end\n")
  }

  @Test("Without one in the environment there is no notifier")
  func none() throws {
    let child = try #require(ChildProcess("LoopPrograms", environment: ["NOTIFY_SOCKET="], "notifies"))
    #expect(child.readLine() == "no manager\n")
    #expect(child.readLine() == "end\n")
  }
}
