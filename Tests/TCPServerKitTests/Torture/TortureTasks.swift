// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit

/// The scenarios of async/await. Each runs on a loop of the calling thread, and is cancelled when it takes too long
/// by the loop's clock.
extension TortureScenario {
  static let tasks = [
    TortureScenario(name: "serve", play: { try onLoop($0, serve) }),
    TortureScenario(name: "accept()", play: { try onLoop($0, accept) }),
    TortureScenario(name: "the sequence of connections", play: { try onLoop($0, sequence) }),
    TortureScenario(name: "a megabyte by write()", play: { try onLoop($0, megabyte) }),
    TortureScenario(name: "connect(to:)", play: { try onLoop($0, connect) }),
  ]

  static func onLoop(
    _ run: TortureRun,
    _ body: @escaping @Sendable (TortureRun, EventBase) async throws -> Void
  ) throws {
    let base = try EventBase()
    do {
      try base.run {
        try await within(Loop.limit, on: base) { try await body(run, base) }
      }
    } catch is TookTooLong {
      // Who accepts waits for better times, and has recorded why.
      if run.told.isEmpty { run.object("it waits for ever, and nobody was told") }
    } catch let error as SocketError {
      run.tell("thrown", error, "\(error)")
    }
  }

  private static func serve(_ run: TortureRun, on base: EventBase) async throws {
    let server = run.server(on: base)
    guard run.listen(server) else { return }
    let client = LoopBound(run.client(of: server, sending: "ping\n"))
    let shutdown = GracefulShutdown()
    try await server.serve(shutdown: shutdown) { socket in
      defer { shutdown.begin(timeout: .seconds(2)) }
      do {
        while let line = try await socket.readLine() {
          try await socket.write(line)
          shutdown.begin(timeout: .seconds(2))
        }
      } catch {
        run.tell("in the handler", socket)
      }
    }
    run.achieved = client.value?.text == "ping\n"
  }

  private static func echo(_ run: TortureRun, _ socket: TCPSocket, to client: TortureClient?) async throws {
    if let line = try await socket.readLine(timeout: .seconds(5)) {
      try await socket.write(line, timeout: .seconds(5))
    }
    if await !socket.closeGracefully(timeout: .seconds(1)), socket.error != .unknown {
      run.tell("closeGracefully", socket)
    }
    run.achieved = client?.text == "ping\n"
  }

  private static func accept(_ run: TortureRun, on base: EventBase) async throws {
    let server = run.server(on: base)
    guard run.listen(server) else { return }
    let client = run.client(of: server, sending: "ping\n")
    if let socket = try await server.accept() {
      try await echo(run, socket, to: client)
    }
  }

  private static func sequence(_ run: TortureRun, on base: EventBase) async throws {
    let server = run.server(on: base)
    guard run.listen(server) else { return }
    let client = run.client(of: server, sending: "ping\n")
    for try await connection in server.incomingConnections {
      try await echo(run, try connection.socket(on: base), to: client)
      break
    }
  }

  private static func megabyte(_ run: TortureRun, on base: EventBase) async throws {
    let count = 1 << 20
    let server = run.server(on: base)
    guard run.listen(server) else { return }
    let client = LoopBound(run.client(of: server))
    guard let socket = try await server.accept() else { return }
    socket.setSocketOption(.sendBufferSize, 65536)
    let reading = start {
      try await until { client.value.map { $0.received == count } ?? true }
    }
    defer { reading.cancel() }
    let bytes = [UInt8](repeating: 7, count: count)
    guard try await socket.write(bytes, timeout: .seconds(5)) == count else { return }
    try await socket.waitUntilWritten(timeout: .seconds(5))
    _ = try await reading.value
    run.achieved = client.value?.received == count
  }

  private static func connect(_ run: TortureRun, on base: EventBase) async throws {
    let server = run.server(on: base)
    guard run.listen(server) else { return }
    let socket = TCPSocket(eventBase: base)
    try await socket.connect(to: "127.0.0.1", port: server.serverPort, timeout: .seconds(5))
    guard let accepted = try await server.accept() else { return }
    try await socket.write("ping\n")
    run.achieved = try await accepted.readLine(timeout: .seconds(5)) == Array("ping\n".utf8)
    if !run.achieved { run.tell("readLine", accepted) }
  }
}
