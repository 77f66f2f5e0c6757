// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

@Suite("Signal", .blocking)
struct SignalTests {
  @Test("Handlers are called in the order in which they were connected, each time")
  func order() {
    let signal = Signal<Int>()
    var calls: [String] = []
    #expect(!signal.isConnected)
    signal.emit(0)
    for name in ["a", "b", "c"] {
      signal.connect { calls.append("\(name)\($0)") }
    }
    #expect(signal.isConnected)
    signal.emit(1)
    signal.emit(2)
    #expect(calls == ["a1", "b1", "c1", "a2", "b2", "c2"])
  }

  @Test("A disconnected handler is not called; disconnecting twice, or at another signal, is harmless")
  func disconnect() {
    let signal = Signal<Void>()
    let other = Signal<Void>()
    var calls: [String] = []
    let first = signal.connect { calls.append("first") }
    signal.connect { calls.append("second") }
    signal.disconnect(first)
    signal.disconnect(first)
    signal.emit()
    #expect(calls == ["second"])
    other.disconnect(first)
    signal.disconnectAll()
    #expect(!signal.isConnected)
    signal.emit()
    #expect(calls == ["second"])
  }

  @Test("A handler disconnected during an emission is not called by it, whatever its place", arguments: 0..<3)
  func disconnectDuringEmission(victim: Int) {
    let signal = Signal<Void>()
    var calls: [Int] = []
    var connections: [SignalConnection] = []
    for number in 0..<3 {
      connections.append(
        signal.connect { [unowned signal] in
          calls.append(number)
          if number == 0 { signal.disconnect(connections[victim]) }
        }
      )
    }
    signal.emit()
    #expect(calls == [0, 1, 2].filter { $0 != victim || $0 == 0 })
    calls = []
    signal.emit()
    #expect(calls == [0, 1, 2].filter { $0 != victim })
  }

  @Test("A handler connected during an emission is called by the next", arguments: 1...3)
  func connectDuringEmission(handlers: Int) {
    let signal = Signal<Void>()
    var calls: [String] = []
    for _ in 0..<handlers {
      signal.connect {
        calls.append("old")
        signal.connect { calls.append("new") }
      }
    }
    signal.emit()
    #expect(calls == Array(repeating: "old", count: handlers))
    calls = []
    signal.emit()
    #expect(calls == Array(repeating: "old", count: handlers) + Array(repeating: "new", count: handlers))
    signal.disconnectAll()
  }

  @Test("A handler may disconnect itself, alone or among others", arguments: [1, 2])
  func selfDisconnect(handlers: Int) {
    let signal = Signal<Void>()
    var calls = 0
    for _ in 0..<handlers {
      var connection: SignalConnection?
      connection = signal.connect {
        calls += 1
        if let connection { signal.disconnect(connection) }
        calls += 10
      }
    }
    signal.emit()
    signal.emit()
    #expect(calls == 11 * handlers)
    #expect(!signal.isConnected)
  }

  @Test(
    "The signal may be released during an emission; all its handlers are still called",
    arguments: [1, 2]
  )
  func releaseDuringEmission(handlers: Int) {
    var signal: Signal<Void>? = Signal()
    weak let watched = signal
    var calls = 0
    for _ in 0..<handlers {
      signal?.connect {
        signal = nil
        calls += 1
      }
    }
    signal?.emit()
    #expect(calls == handlers)
    #expect(watched == nil)
  }

  @Test("disconnectAll() during an emission ends it")
  func disconnectAllDuringEmission() {
    let signal = Signal<Void>()
    var calls = 0
    for _ in 0..<3 {
      signal.connect {
        calls += 1
        signal.disconnectAll()
      }
    }
    signal.emit()
    #expect(calls == 1)
  }

  @Test("An emission within an emission reaches every handler, and the outer one goes on")
  func nested() {
    let signal = Signal<Int>()
    var calls: [String] = []
    signal.connect { depth in
      calls.append("first \(depth)")
      if depth < 2 { signal.emit(depth + 1) }
    }
    signal.connect { calls.append("second \($0)") }
    signal.emit(0)
    #expect(calls == ["first 0", "first 1", "first 2", "second 2", "second 1", "second 0"])
    signal.disconnectAll()
  }

  @Test(
    "What a handler captures is released when it is disconnected, or with the signal",
    arguments: [true, false]
  )
  func captures(disconnects: Bool) {
    final class Captured {}
    var signal: Signal<Void>? = Signal()
    var captured: Captured? = Captured()
    weak let watched = captured
    let connection = signal?.connect { [captured] in _ = captured }
    captured = nil
    #expect(watched != nil)
    if disconnects, let connection {
      signal?.disconnect(connection)
    } else {
      signal = nil
    }
    #expect(watched == nil)
  }
}
