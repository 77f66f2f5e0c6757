// SPDX-License-Identifier: Apache-2.0

// A server with async/await, its clients, and a second loop on a thread of its own that takes some of them.

import TCPServerKit

struct WrongAnswer: Error {
  var text: String
}

// A function of the program's own that is given a socket says that it stays where its caller is.
nonisolated(nonsending) func answer(_ socket: TCPSocket) async throws {
  for try await line in socket.lines {
    try await socket.write(line.uppercased() + "\n")
  }
}

func ask(_ port: UInt16) async throws {
  let socket = TCPSocket()
  try await socket.connect(to: "127.0.0.1", port: port)
  try await socket.write("hello\n")
  socket.finishWriting()
  let text = String(decoding: try await socket.readLine() ?? [], as: UTF8.self)
  guard text == "HELLO\n" else { throw WrongAnswer(text: text) }
  await socket.closeGracefully()
}

/// Serves on this loop until the shutdown, with a client beside it.
func serveHere() async throws -> ServingReport {
  let server = TCPServer()
  guard server.listen(address: .localHost) else { throw server.serverError }
  let port = server.serverPort
  let shutdown = GracefulShutdown()
  async let asking: Void = {
    defer { shutdown.begin(timeout: .seconds(10)) }
    try await ask(port)
  }()
  let report = try await server.serve(maxConnections: 100, shutdown: shutdown) { try await answer($0) }
  try await asking
  return report
}

/// Accepts here and serves on another loop.
func serveElsewhere() async throws {
  try await EventBase.withThread { other in
    let server = TCPServer()
    guard server.listen(address: .localHost) else { throw server.serverError }
    let port = server.serverPort
    async let asking: Void = ask(port)
    for try await connection in server.incomingConnections {
      let task = Task(executorPreference: other.taskExecutor) {
        let socket = try connection.socket()
        try await answer(socket)
      }
      try await task.value
      break
    }
    try await asking
  }
}

let report = try EventBase().run {
  try await serveElsewhere()
  return try await serveHere()
}
guard report.served == 1, report.failed == 0 else { fatalError("\(report)") }
print("Served \(report.served) connection with async/await.")
