// SPDX-License-Identifier: Apache-2.0

import TCPServerKit

/// What benchmarks/services asks for: programs that do something with what comes.
enum ServicePlan {
  case relay(toPort: UInt16)
  case resp

  /// Nil for the other loads.
  static func parse() -> ServicePlan? {
    let arguments = CommandLine.arguments.dropFirst()
    switch (arguments.first, arguments.dropFirst().first.flatMap { UInt16($0) }) {
    case ("relay", let port?): return .relay(toPort: port)
    case ("resp", _): return .resp
    default: return nil
    }
  }

  func run(inTasks: Bool) throws {
    let loop = try EventBase()
    let server = TCPServer(eventBase: loop)
    server.setSocketOption(.lowDelay, 1)
    guard server.listen(address: .localHost) else { throw StartFailure(reason: server.errorString) }
    say("port \(server.serverPort)")
    endWithStandardInput()
    switch self {
    case .relay(let port): try loop.run { try await passOn(server, to: port) }
    case .resp where inTasks: try loop.run { try await serveCommands(server) }
    case .resp:
      handleCommands(server)
      loop.run()
    }
  }
}

private func passOn(_ server: TCPServer, to port: UInt16) async throws {
  try await server.serve { client in
    let upstream = TCPSocket()
    try await upstream.connect(to: "127.0.0.1", port: port)
    try await client.relay(with: upstream)
  }
}
