// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit

/// TCPServerKit as its documentation uses it. The name of the product says in which way:
///
///     ours-callback       newConnection, nextPendingConnection() and readyRead
///     ours-callback-reg   the same; in drain each connection waits for data
///     ours-async          serve(), a task for each connection
///     ours-async-reg      the same; in drain each task waits for data
///     ours-sequence       the sequence of connections, and a task for each
///
/// With `--loops N`, ours-callback and ours-async accept on one loop and serve on N of them by a TCPServerGroup; with
/// `--own-acceptor` the one that accepts has a thread of its own, with `--shared-queue` or `--shards` each accepts. README.md has
/// the other options.
@main
struct OursServer {
  static func main() throws {
    let name = CommandLine.arguments[0].split(separator: "/").last ?? ""
    if let service = ServicePlan.parse() { return try service.run(inTasks: name == "ours-async") }
    let load = Load.parse()
    let workload = Workload()
    if workload.loops > 1 || workload.ownAcceptor {
      return try share(load, workload, inTasks: name == "ours-async")
    }
    let loop = try EventBase()
    let server = TCPServer(eventBase: loop)
    server.setSocketOption(.lowDelay, 1)
    if let seconds = workload.policy { server.connectionPolicy = policy(of: seconds) }
    guard server.listen(address: .localHost) else { throw StartFailure(reason: server.errorString) }
    say("port \(server.serverPort)")
    let drain = Drain(load)
    drain?.waitForStart()
    endWithStandardInput()

    switch name {
    case "ours-async" where AsWritten.isWanted: try loop.run { try await AsWritten.serve(server) }
    case "ours-sequence" where AsWritten.isWanted: try loop.run { try await AsWritten.iterate(server) }
    case "ours-callback" where AsWritten.isWanted:
      AsWritten.handle(server)
      loop.run()
    case "ours-async-reg": try loop.run { try await serveWaiting(server, drain) }
    case "ours-async": try loop.run { try await serve(server, load, drain, workload) }
    case "ours-sequence": try loop.run { try await iterate(server, load, drain) }
    default:
      handle(server, load, drain, registering: name == "ours-callback-reg", workload)
      loop.run()
    }
  }
}

/// With all limits, which nothing in a load comes to. Each connection is looked at once in so many seconds.
private func policy(of seconds: Int) -> ConnectionPolicy {
  let hour = Duration.seconds(3600)
  return ConnectionPolicy(
    firstByte: hour,
    idle: hour,
    maximumAge: hour * 24,
    minimumRate: 240,
    rateWindow: .seconds(seconds)
  )
}

struct StartFailure: Error {
  var reason: String
}
