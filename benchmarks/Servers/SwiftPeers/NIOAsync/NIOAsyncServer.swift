// SPDX-License-Identifier: Apache-2.0

import Glibc
import NIOCore
import NIOPosix

private typealias Connection = NIOAsyncChannel<ByteBuffer, ByteBuffer>
private typealias Listener = NIOAsyncChannel<Connection, Never>

/// SwiftNIO's bridge to Swift concurrency, as its example of an async server uses it: a child task a connection.
///
/// TCP_NODELAY is set already: NIO does that for the listening socket.
@main
struct NIOAsyncServer {
  /// On the main thread, which beside this only waits for input; the tasks run in Swift's own pool of threads.
  @MainActor
  static func main() async throws {
    let mode = CommandLine.arguments.dropFirst().first ?? ""
    let wanted = CommandLine.arguments.dropFirst(2).first.flatMap(Int.init) ?? 0
    let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup(numberOfThreads: 1))
      .serverChannelOption(.backlog, value: 65535)
      // A batch of connections in each turn of the loop; NIO's own limit is 4.
      .serverChannelOption(.maxMessagesPerRead, value: 64)
      // A channel that does not read listens, but accepts nothing.
      .serverChannelOption(.autoRead, value: mode != "drain")
      .bind(host: "127.0.0.1", port: 0) { channel in
        channel.eventLoop.makeCompletedFuture {
          try Connection(wrappingChannelSynchronously: channel)
        }
      }
    print("port \(listener.channel.localAddress?.port ?? 0)")
    fflush(nil)

    switch mode {
    case "drain":
      _ = readLine()
      let start = (wall: nanoseconds(CLOCK_MONOTONIC), cpu: nanoseconds(CLOCK_PROCESS_CPUTIME_ID))
      Task.detached { try await drain(listener, wanted: wanted, since: start) }
      try await listener.channel.setOption(.autoRead, value: true).get()
    case "storm":
      Task.detached { try await serve(listener, handler: greet) }
    default:
      Task.detached { try await serve(listener, handler: echo) }
    }
    while readLine() != nil {}
    exit(0)
  }
}

private func drain(_ listener: Listener, wanted: Int, since start: (wall: Int, cpu: Int)) async throws {
  var connections: [Connection] = []
  var sum = 0
  try await listener.executeThenClose { inbound in
    // Goes on waiting after the last one: leaving would close the connections' listener.
    for try await connection in inbound {
      guard case .v4(let peer) = connection.channel.remoteAddress else { continue }
      sum += Int(UInt32(bigEndian: peer.address.sin_addr.s_addr) & 0xff) * 65536
      sum += Int(UInt16(bigEndian: peer.address.sin_port))
      connections.append(connection)
      if connections.count == wanted {
        let wall = nanoseconds(CLOCK_MONOTONIC) - start.wall
        let cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - start.cpu
        print("drained \(wanted) \(wall) \(cpu) \(sum)")
        fflush(nil)
      }
    }
  }
}

private func serve(
  _ listener: Listener,
  handler: @escaping @Sendable (Connection) async throws -> Void
) async throws {
  try await withThrowingDiscardingTaskGroup { group in
    try await listener.executeThenClose { inbound in
      for try await connection in inbound {
        // A connection that fails ends alone.
        group.addTask { try? await handler(connection) }
      }
    }
  }
}

@Sendable
private func greet(_ connection: Connection) async throws {
  try await connection.executeThenClose { _, outbound in
    try await outbound.write(ByteBuffer(staticString: "hello, stranger\n"))
  }
}

@Sendable
private func echo(_ connection: Connection) async throws {
  try await connection.executeThenClose { inbound, outbound in
    for try await bytes in inbound {
      try await outbound.write(bytes)
    }
  }
}

private func nanoseconds(_ clock: clockid_t) -> Int {
  var now = timespec()
  clock_gettime(clock, &now)
  return now.tv_sec * 1_000_000_000 + now.tv_nsec
}
