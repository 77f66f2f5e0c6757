// SPDX-License-Identifier: Apache-2.0

// A server with callbacks, and a client of it on the same loop.

import TCPServerKit

final class Echo {
  let server = TCPServer()
  private(set) var served = 0

  init() {
    server.newConnection.connect { [unowned self] in
      while let socket = server.nextPendingConnection() { serve(socket) }
    }
    server.acceptError.connect { print("Cannot accept: \($0)") }
  }

  private func serve(_ socket: TCPSocket) {
    served += 1
    socket.readyRead.connect { [unowned socket] in
      guard socket.canReadLine, let line = socket.readLine() else { return }
      socket.write(line)
      socket.disconnectFromHost()
    }
    socket.errorOccurred.connect { print("A connection failed: \($0)") }
  }
}

let loop = try EventBase()
let echo = Echo()
guard echo.server.listen(address: .localHost) else { fatalError(echo.server.errorString) }

var answer: [UInt8] = []
let client = TCPSocket()
client.connected.connect { client.write("hello\n") }
client.readyRead.connect { answer += client.readAll() }
client.disconnected.connect { loop.stop() }
client.connectToHost(.localHost, port: echo.server.serverPort)
loop.run()

let text = String(decoding: answer, as: UTF8.self)
guard text == "hello\n", echo.served == 1 else { fatalError("The server answered “\(text)”.") }
print("Served \(echo.served) connection with callbacks.")
