// SPDX-License-Identifier: Apache-2.0

// The same in Swift 5's language mode with complete checks: a server with both styles on one loop.

import TCPServerKit

func exchange() async throws -> String {
  let server = TCPServer()
  var announced = 0
  server.newConnection.connect { announced += 1 }
  guard server.listen(address: .localHost) else { throw server.serverError }
  let client = TCPSocket()
  client.connectToHost(.localHost, port: server.serverPort)
  guard let socket = try await server.accept(), announced == 1 else { return "" }
  try await socket.write("hello\n")
  await socket.closeGracefully()
  return String(decoding: try await client.readLine() ?? [], as: UTF8.self)
}

let text = try EventBase().run { try await exchange() }
guard text == "hello\n" else { fatalError("The server wrote “\(text)”.") }
print("Served 1 connection in Swift 5's language mode.")
