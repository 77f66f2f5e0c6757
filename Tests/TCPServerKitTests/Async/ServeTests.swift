import TCPServerKit
import Testing

@Suite("serve()")
struct ServeTests {
  @Test("An echo server in a handler answers, and ends when its task is cancelled")
  func echo() async throws {
    let statistics = try await EventBase.withThread { base in
      let server = TCPServer()
      #expect(server.listen(address: .localHost))
      let port = server.serverPort
      let serving = Task(executorPreference: base.taskExecutor) {
        let client = TCPSocket()
        try await client.connect(to: "127.0.0.1", port: port)
        for round in 0..<100 {
          try await client.write("hello \(round)\n")
          let line = try await client.readLine()
          #expect(line.map { String(decoding: $0, as: UTF8.self) } == "hello \(round)\n")
        }
        client.writeEnd()
        #expect(try await client.readLine() == nil)
      }
      let shutdown = GracefulShutdown()
      let watcher = Task(executorPreference: base.taskExecutor) {
        try await serving.value
        shutdown.begin(timeout: .seconds(5))
      }
      let report = try await server.serve(shutdown: shutdown) { socket in
        while let line = try await socket.readLine() {
          try await socket.write(line)
        }
      }
      try await watcher.value
      #expect(report.served == 1)
      #expect(report.cancelled == 0)
      return server.statistics
    }
    #expect(statistics.accepted == 1)
    #expect(statistics.delivered == 1)
  }

  @Test("Cancelling the serving task aborts its handlers and stops listening")
  func cancel() async throws {
    try await EventBase.withThread { base in
      let server = TCPServer()
      #expect(server.listen(address: .localHost))
      let port = server.serverPort
      nonisolated(unsafe) let shared = server
      let task = Task(executorPreference: base.taskExecutor) {
        try await unsafe shared.serve { socket in
          _ = try await socket.readLine()
        }
      }
      let client = TCPSocket()
      try await client.connect(to: "127.0.0.1", port: port)
      try await client.write("no newline")
      while server.statistics.delivered == 0 {
        try await base.sleep(for: .milliseconds(1))
      }
      task.cancel()
      let report = try await task.value
      #expect(report.cancelled == 1)
      #expect(!server.isListening)
      // Reset where bytes were still unread in the kernel, ended where the handler had read them.
      do {
        #expect(try await client.read(maxLength: 1, timeout: .seconds(10)) == nil)
      } catch {
        #expect(error as? SocketError == .remoteHostClosed)
      }
    }
  }

  @Test("A sequence of connections hands each to a task of its own")
  func sequence() async throws {
    try await EventBase.withThread { base in
      let server = TCPServer()
      #expect(server.listen(address: .localHost))
      let port = server.serverPort
      let clients = Task(executorPreference: base.taskExecutor) {
        for _ in 0..<50 {
          let client = TCPSocket()
          try await client.connect(to: "127.0.0.1", port: port)
          #expect(try await client.readLine() == Array("hi\n".utf8))
        }
      }
      try await withThrowingTaskGroup(of: Void.self) { group in
        var count = 0
        for try await connection in server.connections {
          group.addTask {
            let socket = try connection.socket(on: base)
            try await socket.write("hi\n")
            await socket.closeGracefully()
          }
          count += 1
          if count == 50 { break }
        }
        try await group.waitForAll()
      }
      try await clients.value
      let statistics = server.statistics
      #expect(statistics.accepted == statistics.delivered + statistics.pending)
    }
  }
}
