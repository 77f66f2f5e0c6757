import Glibc
import Synchronization
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

  private struct State {
    var controls: [CInt] = []
    var wrong: [UInt8]?
  }

  let port: UInt16
  private let listening: CInt
  private let state = Mutex(State())
  private let thread = Mutex<OtherThread?>(nil)

  /// The first connection gets the first script, and so on; further ones wait in the kernel.
  init(_ scripts: [Step]...) {
    listening = Descriptors.listening()
    port = Endpoint(localOf: listening)?.port ?? 0
    run(scripts)
  }

  private func run(_ scripts: [[Step]]) {
    let listening = listening
    let started = OtherThread { [weak self] in
      for script in scripts {
        let control = accept(listening, nil, nil)
        guard control >= 0 else { return }
        guard let self else {
          close(control)
          return
        }
        self.play(script, on: control)
      }
    }
    thread.withLock { $0 = started }
  }

  deinit {
    shutdown(listening, CInt(SHUT_RDWR))
    thread.withLock { $0 }?.join()
    close(listening)
    for control in state.withLock({ $0.controls }) where control >= 0 {
      close(control)
    }
  }

  private func play(_ script: [Step], on control: CInt) {
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

  /// What came instead of what a script expected.
  var wrong: [UInt8]? {
    state.withLock { $0.wrong }
  }

  /// How many scripts have been played.
  var played: Int {
    state.withLock { $0.controls.count }
  }

  /// Takes the connection that was the `index`th, once its script has ended; nil where that closed it.
  func takeControl(_ index: Int = 0) -> PlainClient? {
    guard waitUntilPlayed(index + 1) else { return nil }
    let descriptor = state.withLock { state in
      guard state.controls.indices.contains(index) else { return CInt(-1) }
      defer { state.controls[index] = -1 }
      return state.controls[index]
    }
    return descriptor >= 0 ? PlainClient(adopting: descriptor) : nil
  }

  /// Waits until this many scripts have been played.
  func waitUntilPlayed(_ count: Int) -> Bool {
    let deadline = time(nil) + 10  // not the clock that a test may have stopped
    while played < count {
      guard time(nil) < deadline else { return false }
      sched_yield()
    }
    return true
  }

  /// The way through it, for loopback addresses too.
  var proxy: NetworkProxy {
    var proxy = NetworkProxy.socks5(hostName: "127.0.0.1", port: port)
    proxy.proxiesLoopback = true
    return proxy
  }
}
