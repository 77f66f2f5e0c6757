// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import TCPServerTLS

/// An encrypted echo server for the clients of `Tests/TLS/run`.
///
/// Writes its port as "port N", answers each line "report" of its standard input by what it has counted, and ends with its
/// standard input, or once another process has taken over from it. A line "exit" has it call `exit` at once.
@main
struct JudgedServer {
  static func main() throws {
    let options = try Options(CommandLine.arguments.dropFirst())
    try EventBaseGroup.run(loops: options.loops) { loops in
      let shutdown = GracefulShutdown()
      let configuration = try options.configuration()
      let restart = try await Restart(at: options.control, configuration.sessionTickets)
      try configuration.checkForServer()
      let threads = options.threads > 0 ? SSLHandshakeThreads(count: options.threads) : nil
      let server = TCPServerGroup(on: loops, tls: configuration) { server in
        server.handshakeThreads = threads
        server.handshakeTimeout = options.handshakeTimeout
        server.maxHandshakes = options.maxHandshakes
      }
      try await restart.listen(server)
      write("port \(server.serverPort)")
      let commands = AsyncStream.makeStream(of: Void.self)
      readCommands { command in
        guard command != nil else {
          commands.continuation.finish()
          return shutdown.begin(timeout: .seconds(1))
        }
        if command == "exit" { exit(0) }
        commands.continuation.yield()
      }
      async let reporting: Void = report(commands.stream, of: server)
      let handover = restart.handOver(server, shutdown)
      let served = try await server.serve(shutdown: shutdown) { try await Answering($0, loops).run() }
      handover?.cancel()
      try? await handover?.value.drained(served)
      commands.continuation.finish()
      await reporting
    }
  }

  private static func report(_ commands: AsyncStream<Void>, of server: TCPServerGroup) async {
    for await _ in commands {
      let sum = Locked(Report())
      try? await server.withServers { server, _ in
        guard let server = server as? SSLServer else { return }
        sum.withLock { $0.add(server.handshakeStatistics) }
      }
      write(sum.withLock { "\($0)" })
    }
  }

  /// On a thread of its own, as reading a line blocks. The end of input is nil.
  private static func readCommands(_ obey: @escaping @Sendable (String?) -> Void) {
    final class Work: Sendable {
      let obey: @Sendable (String?) -> Void
      init(_ obey: @escaping @Sendable (String?) -> Void) { self.obey = obey }
    }
    var thread = pthread_t()
    unsafe pthread_create(
      &thread,
      nil,
      { context in
        if let context = unsafe context as UnsafeMutableRawPointer? {
          let work = unsafe Unmanaged<Work>.fromOpaque(context).takeRetainedValue()
          while let line = readLine() { work.obey(line) }
          work.obey(nil)
        }
        return nil
      },
      Unmanaged.passRetained(Work(obey)).toOpaque()
    )
    pthread_detach(thread)
  }
}

/// Past the C library's streams, which would keep the line until there are more.
func write(_ line: String) {
  let line = line + "\n"
  unsafe _ = Glibc.write(STDOUT_FILENO, line, line.utf8.count)
}
