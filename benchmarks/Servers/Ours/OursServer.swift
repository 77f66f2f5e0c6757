import Glibc
import TCPServerKit

/// TCPServerKit as its documentation uses it. The name of the product says in which way:
///
///     ours-callback       newConnection, nextPendingConnection() and readyRead
///     ours-callback-reg   the same; in drain each connection waits for data
///     ours-async          serve(), a task for each connection
///     ours-sequence       the sequence of connections, and a task for each
@main
struct OursServer {
  static func main() throws {
    let load = Load.parse()
    let name = CommandLine.arguments[0].split(separator: "/").last ?? ""
    let loop = try EventBase()
    // Everything runs on this thread, tasks too.
    nonisolated(unsafe) let server = TCPServer(eventBase: loop)
    guard server.listen(address: .localHost) else { throw StartFailure(reason: server.errorString) }
    // Inherited by the connections.
    var one: CInt = 1
    setsockopt(
      server.socketDescriptor,
      CInt(IPPROTO_TCP),
      TCP_NODELAY,
      &one,
      socklen_t(MemoryLayout<CInt>.size)
    )
    say("port \(server.serverPort)")
    let drain = Drain.start(load)
    endWithStandardInput()

    switch name {
    case "ours-async": try loop.run { try await serve(server, load, drain) }
    case "ours-sequence": try loop.run { try await iterate(server, load, drain) }
    default:
      handle(server, load, drain, registering: name == "ours-callback-reg")
      loop.run()
    }
  }
}

struct StartFailure: Error {
  var reason: String
}
