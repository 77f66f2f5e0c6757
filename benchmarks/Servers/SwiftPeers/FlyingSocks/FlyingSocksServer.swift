// SPDX-License-Identifier: Apache-2.0

import FlyingSocks
import Foundation

/// FlyingSocks, the sockets under FlyingFox, as its HTTP server uses them: a pool, and a child task a connection.
@main
struct FlyingSocksServer {
  /// On the main thread, which beside this only waits for input; the tasks run in Swift's own pool of threads.
  @MainActor
  static func main() async throws {
    let mode = CommandLine.arguments.dropFirst().first ?? ""
    let wanted = CommandLine.arguments.dropFirst(2).first.flatMap(Int.init) ?? 0
    // The library writes with write(2), where a peer that is gone is a signal.
    signal(SIGPIPE, SIG_IGN)

    let socket = try Socket(domain: AF_INET, type: .stream)
    // Accepted sockets inherit it.
    try socket.setValue(true, for: BoolSocketOption(level: Int32(IPPROTO_TCP), name: TCP_NODELAY))
    try socket.bind(to: .inet(ip4: "127.0.0.1", port: 0))
    try socket.listen(maxPendingConnection: 65535)
    let pool: some AsyncSocketPool = .make()
    try await pool.prepare()
    let listener = try AsyncSocket(socket: socket, pool: pool)
    guard case .ip4(_, let port) = try socket.sockname() else { return }
    print("port \(port)")
    fflush(nil)

    Task.detached { try await pool.run() }
    switch mode {
    case "drain":
      // Nothing is accepted before the first call of accept(), which comes after this line.
      _ = readLine()
      let start = (wall: nanoseconds(CLOCK_MONOTONIC), cpu: nanoseconds(CLOCK_PROCESS_CPUTIME_ID))
      Task.detached { try await drain(listener, wanted: wanted, since: start) }
    case "storm":
      Task.detached { try await serve(listener, handler: greet) }
    default:
      Task.detached { try await serve(listener, handler: echo) }
    }
    while readLine() != nil {}
    exit(0)
  }
}

private func drain(_ listener: AsyncSocket, wanted: Int, since start: (wall: Int, cpu: Int)) async throws {
  var connections: [AsyncSocket] = []
  var sum = 0
  for try await connection in listener.sockets {
    guard case .ip4(let address, let port) = try connection.socket.remotePeer() else { continue }
    // The library's address is text.
    let lastOctet = address.utf8.reduce(0) { octet, character in
      character == UInt8(ascii: ".") ? 0 : octet * 10 + Int(character - UInt8(ascii: "0"))
    }
    sum += lastOctet * 65536 + Int(port)
    connections.append(connection)
    if connections.count == wanted {
      let wall = nanoseconds(CLOCK_MONOTONIC) - start.wall
      let cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - start.cpu
      print("drained \(wanted) \(wall) \(cpu) \(sum)")
      fflush(nil)
    }
  }
}

private func serve(
  _ listener: AsyncSocket,
  handler: @escaping @Sendable (AsyncSocket) async throws -> Void
) async throws {
  try await withThrowingDiscardingTaskGroup { group in
    for try await connection in listener.sockets {
      group.addTask {
        // A connection that fails, as one does whose peer has ended, ends alone.
        try? await handler(connection)
        try? connection.close()
      }
    }
  }
}

@Sendable
private func greet(_ connection: AsyncSocket) async throws {
  try await connection.write(Data("hello, stranger\n".utf8))
}

@Sendable
private func echo(_ connection: AsyncSocket) async throws {
  while true {
    try await connection.write(Data(connection.read(atMost: 16384)))
  }
}

private func nanoseconds(_ clock: clockid_t) -> Int {
  var now = timespec()
  clock_gettime(clock, &now)
  return now.tv_sec * 1_000_000_000 + now.tv_nsec
}
