// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

/// What a program whose `main()` is asynchronous meets: no thread runs a loop by itself.
@Suite("In tasks of the pool", .timeLimit(.minutes(5)))
struct AsyncMainTests {
  @Test("There is no current event base: what needs one says so")
  func noCurrent() async throws {
    try await Task.detached {
      #expect(EventBase.current == nil)
      #expect(!GracefulShutdown().beginOnSignals(SIGUSR1))
      let socket = TCPSocket()
      await #expect(throws: SocketError.operation) { try await socket.connect(to: "127.0.0.1", port: 1) }
      let server = TCPServer()
      try #require(server.listen(address: .localHost))
      await #expect(throws: SocketError.operation) { try await server.accept() }
      await #expect(throws: SocketError.operation) { try await server.serve { _ in } }
    }.value
  }

  @Test(
    "On an event base that no thread runs neither a timeout nor a cancellation ends an await; running it does"
  )
  func notRunning() async throws {
    let base = try EventBase()
    let listener = try ReservedPort()
    let port = listener.number
    let ended = Counter()
    let tasks = [
      Task.detached {
        defer { ended.increment() }
        try await TCPSocket(eventBase: base).connect(to: "127.0.0.1", port: port, timeout: .milliseconds(10))
      },
      Task.detached {
        defer { ended.increment() }
        try await base.sleep(for: .milliseconds(10))
      },
      Task.detached {
        defer { ended.increment() }
        try await base.sleep(for: .seconds(1000))
      },
    ]
    try await Task.sleep(for: .milliseconds(200))
    tasks[2].cancel()
    try await Task.sleep(for: .milliseconds(200))
    #expect(ended.value == 0)
    let running = Background { try? base.run { for task in tasks { _ = await task.result } } }
    for task in tasks { _ = await task.result }
    running.join()
    withExtendedLifetime(listener) {}
    #expect(ended.value == 3)
  }
}
