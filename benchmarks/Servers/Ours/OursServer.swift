// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit

/// TCPServerKit as its documentation uses it. The name of the product says in which way:
///
///     ours-callback       newConnection, nextPendingConnection() and readyRead
///     ours-callback-reg   the same; in drain each connection waits for data
///     ours-async          serve(), a task for each connection
///     ours-sequence       the sequence of connections, and a task for each
///
/// With `--loops N`, ours-callback and ours-async accept on one loop and serve on N of them: by an overridden
/// incomingConnection(_:), respectively with the sequence.
@main
struct OursServer {
  static func main() throws {
    let load = Load.parse()
    let name = CommandLine.arguments[0].split(separator: "/").last ?? ""
    let loop = try EventBase()
    let server: TCPServer
    let loops = try loops(load.loops, with: loop)
    if loops.count > 1 && name == "ours-callback" {
      server = SharingServer(loops: loops, load: load)
    } else {
      server = TCPServer(eventBase: loop)
    }
    server.setSocketOption(.lowDelay, 1)
    guard server.listen(address: .localHost) else { throw StartFailure(reason: server.errorString) }
    say("port \(server.serverPort)")
    let drain = Drain.start(load)
    endWithStandardInput()

    switch name {
    case "ours-async" where loops.count > 1: try loop.run { try await share(server, among: loops, load) }
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
