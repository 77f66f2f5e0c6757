// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit

/// A proxy that does what a test says, on 127.0.0.1: on a thread of its own while a blocking call asks it, and at
/// the test's hand afterwards.
final class ScriptedProxy: Sendable {
  enum Step {
    /// Waits for exactly these bytes; others end the script.
    case expect([UInt8])
    case send([UInt8])
    /// One by one, each as a packet of its own.
    case sendBytes([UInt8])
    case close
    case reset
  }

  /// No method asked for but none, and a place at 1.2.3.4, port 1286.
  static func binds(on port: UInt16 = 1286, wish: UInt16? = nil) -> [Step] {
    let wished = wish.map { [.expect(request(port: $0))] } ?? [.expect(request())] as [Step]
    return [.expect([5, 1, 0]), .send([5, 0])] + wished + [.send(reply([1, 2, 3, 4], port: port))]
  }

  /// BIND for any peer, with a wish for a port.
  static func request(port: UInt16 = 0) -> [UInt8] {
    [5, 2, 0, 1, 0, 0, 0, 0, UInt8(port >> 8), UInt8(port & 0xff)]
  }

  static func reply(_ address: [UInt8] = [192, 0, 2, 7], port: UInt16 = 4660) -> [UInt8] {
    [5, 0, 0, address.count == 4 ? 1 : 4] + address + [UInt8(port >> 8), UInt8(port & 0xff)]
  }

  /// What the thread and the test share. The proxy itself is the test's alone, so that it ends on its thread.
  private final class Course: Sendable {
    struct State {
      var controls: [CInt] = []
      var wrong: [UInt8]?
    }

    let state = Locked(State())

    func play(_ script: [Step], on control: CInt) {
      _ = fcntl(control, F_SETFD, FD_CLOEXEC)
      let client = PlainClient(adopting: control)
      defer { client.forget() }
      Descriptors.setOption(control, CInt(IPPROTO_TCP), TCP_NODELAY, 1)
      var isOpen = true
      for step in script where isOpen {
        switch step {
        case .expect(let expected):
          let got = client.receive(exactly: expected.count)
          if got != expected {
            state.withLock { $0.wrong = got }
            isOpen = false
          }
        case .send(let bytes):
          client.send(bytes)
        case .sendBytes(let bytes):
          for byte in bytes { client.send([byte]) }
        case .close:
          client.end()
          isOpen = false
        case .reset:
          client.reset()
          isOpen = false
        }
      }
      state.withLock { $0.controls.append(client.descriptor) }
    }
  }

  let port: UInt16
  private let address: String
  private let listening: CInt
  private let course = Course()
  private let thread = Locked<OtherThread?>(nil)

  /// The first connection gets the first script, and so on; further ones wait in the kernel.
  convenience init(_ scripts: [Step]...) {
    self.init(on: "127.0.0.1", scripts)
  }

  /// The same on another address of this machine.
  init(on address: String, _ scripts: [[Step]]) {
    self.address = address
    listening = Descriptors.listening(on: address)
    _ = fcntl(listening, F_SETFD, FD_CLOEXEC)
    port = Endpoint(localOf: listening)?.port ?? 0
    run(scripts)
  }

  private func run(_ scripts: [[Step]]) {
    let started = OtherThread { [listening, course] in
      for script in scripts {
        let control = accept(listening, nil, nil)
        guard control >= 0 else { return }
        course.play(script, on: control)
      }
    }
    thread.withLock { $0 = started }
  }

  deinit {
    shutdown(listening, CInt(SHUT_RDWR))
    thread.withLock { $0 }?.join()
    close(listening)
    for control in course.state.withLock({ $0.controls }) where control >= 0 {
      close(control)
    }
  }

  /// What came instead of what a script expected.
  var wrong: [UInt8]? {
    course.state.withLock { $0.wrong }
  }

  /// How many scripts have been played.
  var played: Int {
    course.state.withLock { $0.controls.count }
  }

  /// Takes the connection that was the `index`th, once its script has ended; nil where that closed it.
  func takeControl(_ index: Int = 0) -> PlainClient? {
    guard waitUntilPlayed(index + 1) else { return nil }
    let descriptor = course.state.withLock { state in
      guard state.controls.indices.contains(index) else { return CInt(-1) }
      defer { state.controls[index] = -1 }
      return state.controls[index]
    }
    return descriptor >= 0 ? PlainClient(adopting: descriptor) : nil
  }

  /// Waits until this many scripts have been played.
  func waitUntilPlayed(_ count: Int) -> Bool {
    let deadline = time(nil) + 60  // not the clock that a test may have stopped
    while played < count {
      guard time(nil) < deadline else { return false }
      sched_yield()
    }
    return true
  }

  /// The way through it, for loopback addresses too. Its thread may be late: it has the time of a test to answer.
  var proxy: NetworkProxy {
    var proxy = NetworkProxy.socks5(hostName: address, port: port)
    proxy.proxiesLoopback = true
    proxy.timeout = Loop.limit
    return proxy
  }
}
