import Glibc
import TCPServerKit

/// The Swift server of the soak: sends back what comes, by handlers or in tasks, and does as it is told on its
/// standard input.
@main
struct SoakServer {
  static func main() throws {
    signal(SIGINT, SIG_IGN)  // Ctrl-C is for the client, which then ends this program
    ignoreInterrupting(SIGUSR1)
    let base = try EventBase()
    let server = TCPServer(eventBase: base)
    guard server.listen(address: .localHost) else {
      tell(server.errorString)
      exit(1)
    }
    // Used on the loop alone, where commands are executed.
    nonisolated(unsafe) var commands = Commands(server)
    server.acceptError.connect { unsafe commands.acceptFailed($0) }
    if CommandLine.arguments.dropFirst().first == "async" {
      serveInTasks(server, on: base)
    } else {
      server.newConnection.connect {
        while unsafe !commands.holds, let socket = server.nextPendingConnection() {
          echo(socket)
        }
      }
    }
    tell("listening \(server.serverPort)")
    readCommands { line in
      if let line {
        base.execute { unsafe commands.obey(line, on: base) }
      } else {
        base.stop()
      }
    }
    base.run()
  }

  /// A handler without SA_RESTART, so that the signal interrupts what waits.
  private static func ignoreInterrupting(_ number: CInt) {
    var action = sigaction()
    unsafe action.__sigaction_handler.sa_handler = { _ in }
    unsafe sigaction(number, &action, nil)
  }

  /// Again when the listening socket was broken, which ends `serve`.
  private static func serveInTasks(_ server: TCPServer, on base: EventBase) {
    Task(executorPreference: base.taskExecutor) {
      while server.isListening {
        _ = try? await server.serve { socket in
          while try await socket.read({ bytes in _ = socket.write(bytes) }) != nil {
            if socket.bytesToWrite >= socket.writeHighWaterMark {
              try await socket.waitUntilWritable()
            }
          }
        }
      }
    }
  }

  private static func echo(_ socket: TCPSocket) {
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
    unsafe Self.obey = obey
    var thread = pthread_t()
    unsafe pthread_create(
      &thread,
      nil,
      { _ in
        var all = sigset_t()
        unsafe sigfillset(&all)
        unsafe pthread_sigmask(SIG_BLOCK, &all, nil)  // they are for the loop's thread
        while let line = readLine() {
          unsafe SoakServer.obey?(line)
        }
        unsafe SoakServer.obey?(nil)
        return nil
      },
      nil
    )
  }

  /// Set before the thread starts that calls it.
  nonisolated(unsafe) private static var obey: (@Sendable (String?) -> Void)?
}
