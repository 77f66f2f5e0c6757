// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

@Suite("Serving", .blocking)
struct ServingTests {
  @Test("A client's bytes come back from an echo server")
  func echo() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    server.newConnection.connect {
      guard let socket = server.nextPendingConnection() else { return }
      socket.readyRead.connect { socket.write(socket.readAll()) }
    }
    #expect(server.listen(address: .localHost))

    let client = TCPSocket(eventBase: loop.base)
    var received: [UInt8] = []
    client.connected.connect { [unowned client] in client.write("hello") }
    client.readyRead.connect { [unowned client] in received += client.readAll() }
    client.connectToHost(.localHost, port: server.serverPort)
    #expect(loop.run { received.count == 5 })
    #expect(String(decoding: received, as: UTF8.self) == "hello")

    client.disconnectFromHost()
    #expect(loop.run { client.state == .unconnected })
  }
}
