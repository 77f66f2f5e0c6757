// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit

/// The Swift server of the soak: sends back what comes, by handlers, in tasks, from eight threads or on four loops, and
/// obeys commands on its standard input.
@main
struct SoakServer {
  static func main() throws {
    signal(SIGINT, SIG_IGN)  // Ctrl-C is for the client, which then ends this program
    ignoreInterrupting(SIGUSR1)
    if CommandLine.arguments.dropFirst().first == "group" {
      let options = Array(CommandLine.arguments.dropFirst(2))
      guard let distribution = options.first else { return try serveOnLoops(4) }
      return try serveExactlyOnce(distribution, upTo: options.last.flatMap { Int($0) } ?? 500, on: 4)
    }
    let base = try EventBase()
    let server = TCPServer(eventBase: base)
    guard server.listen(address: .localHost) else {
      tell(server.errorString)
      exit(1)
    }
    // Used on the loop alone, where commands are executed.
    nonisolated(unsafe) var commands = Commands(
      server,
      statistics: { server.statistics },
      end: { base.stop() }
    )
    server.acceptError.connect { unsafe commands.acceptFailed($0) }
    switch CommandLine.arguments.dropFirst().first {
    case "async":
      serve(server, on: base, echo)
    case "threads":
      let others = try OtherLoops(7)
      serve(server, on: base) { try await others.echo($0) }
    default:
      server.newConnection.connect {
        while unsafe !commands.holds, let socket = server.nextPendingConnection() {
          echoByHandlers(socket)
        }
      }
    }
    tell("listening \(server.serverPort)")
    readCommands { line in
      if let line {
        base.execute { unsafe commands.obey(line) }
      } else {
        base.stop()
      }
    }
    base.run()
  }

  private static func serveOnLoops(_ count: Int) throws {
    try EventBaseGroup.run(loops: count) { loops in
      let group = TCPServerGroup(on: loops)
      let base = loops.acceptingEventBase
      let shutdown = GracefulShutdown()
      try await group.listen(address: .localHost)
      let acceptor = try await group.withAcceptor { $0 }
      // Used on the accepting loop alone, where this task is, and where commands are executed.
      nonisolated(unsafe) var commands = Commands(
        acceptor,
        statistics: { group.statistics },
        end: { shutdown.begin() }
      )
      acceptor.acceptError.connect { unsafe commands.acceptFailed($0) }
      tell("listening \(group.serverPort)")
      readCommands { line in
        base.execute { if let line { unsafe commands.obey(line) } else { shutdown.begin() } }
      }
      while !shutdown.hasBegun {
        _ = try? await group.serve(shutdown: shutdown, handler: echo)
      }
    }
  }

  private static func serveExactlyOnce(_ distribution: String, upTo limit: Int, on count: Int) throws {
    try EventBaseGroup.run(loops: count) { loops in
      let server = try ExactlyOnce(distribution, limit: limit, on: loops)
      let (commands, feed) = AsyncStream.makeStream(of: String.self)
      readCommands { line in
        if let line { feed.yield(line) } else { feed.finish() }
      }
      try await server.run(commands, echo)
    }
  }

  /// A handler without SA_RESTART, so that the signal interrupts what waits.
  private static func ignoreInterrupting(_ number: CInt) {
    var action = sigaction()
    unsafe action.__sigaction_handler.sa_handler = { _ in }
    unsafe sigaction(number, &action, nil)
  }

  /// Again when the listening socket was broken, which ends `serve`.
  private static func serve(
    _ server: TCPServer,
    on base: EventBase,
    _ handler: @escaping @Sendable (TCPSocket) async throws -> Void
  ) {
    Task(executorPreference: base.taskExecutor) {
      while server.isListening {
        _ = try? await server.serve(handler: handler)
      }
    }
  }

  @Sendable private static func echo(_ socket: TCPSocket) async throws {
    while try await socket.read({ bytes in _ = socket.write(bytes) }) != nil {
      if socket.bytesToWrite >= socket.writeHighWaterMark {
        try await socket.waitUntilWritable()
      }
    }
  }

  private static func echoByHandlers(_ socket: TCPSocket) {
    let mostHeld = 65536
    socket.readBufferSize = mostHeld
    let sendBack = { [unowned socket] in
      guard socket.bytesAvailable > 0, socket.bytesToWrite < mostHeld else { return }
      socket.write(socket.readAll())
    }
    socket.readyRead.connect(sendBack)
    socket.bytesWritten.connect { _ in sendBack() }
  }

  /// On a thread of its own, as reading a line blocks; not a task's, because descriptors are counted, and
  /// Dispatch opens some of its own when it likes. The end of input is nil.
  private static func readCommands(_ obey: @escaping @Sendable (String?) -> Void) {
    startThread {
      var all = sigset_t()
      unsafe sigfillset(&all)
      unsafe pthread_sigmask(SIG_BLOCK, &all, nil)  // they are for the loop's thread
      while let line = readLine() {
        obey(line)
      }
      obey(nil)
    }
  }
}

/// Runs `body` on a thread of its own, for as long as the program runs.
func startThread(_ body: @escaping @Sendable () -> Void) {
  final class Work: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }
  var thread = pthread_t()
  unsafe pthread_create(
    &thread,
    nil,
    { context in
      if let context = unsafe context as UnsafeMutableRawPointer? {
        unsafe Unmanaged<Work>.fromOpaque(context).takeRetainedValue().body()
      }
      return nil
    },
    Unmanaged.passRetained(Work(body)).toOpaque()
  )
  pthread_detach(thread)
}
