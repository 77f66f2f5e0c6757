// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import TCPServerTLS

/// TCPServerTLS as its documentation uses it. The name of the product says in which way:
///
///     ours-callback-tls   newConnection, nextPendingConnection() and readyRead
///     ours-async-tls      serve(), a task for each connection
///
///     ours-async-tls echo CERTIFICATE KEY [--threads N]
///
/// With `--threads N` so many threads make the handshakes.
@main
struct OursTLSServer {
  static func main() throws {
    let arguments = CommandLine.arguments
    guard arguments.count > 3, arguments[1] == "echo" else {
      fatalError("usage: \(arguments[0]) echo CERTIFICATE KEY [--threads N]")
    }
    let loop = try EventBase()
    let server = SSLServer(eventBase: loop)
    try server.setSSLConfiguration(SSLConfiguration(certificateFile: arguments[2], keyFile: arguments[3]))
    if arguments.count > 5, arguments[4] == "--threads", let count = Int(arguments[5]) {
      server.handshakeThreads = SSLHandshakeThreads(count: count)
    }
    // Silent clients are many in one load.
    server.maxHandshakes = 65536
    guard server.listen(address: .localHost) else { throw server.serverError }
    print("port \(server.serverPort)")
    fflush(nil)
    endWithStandardInput()
    if arguments[0].hasSuffix("ours-async-tls") {
      try loop.run { try await server.serve(handler: echo) }
    } else {
      handle(server)
      loop.run()
    }
  }
}

private func handle(_ server: SSLServer) {
  server.newConnection.connect {
    guard let socket = server.nextPendingConnection() else { return }
    socket.readyRead.connect { socket.readAll { _ = socket.write($0) } }
  }
}

private func echo(_ socket: TCPSocket) async throws {
  while try await socket.read({ bytes in _ = socket.write(bytes) }) != nil {
    if socket.bytesToWrite >= socket.writeHighWaterMark { try await socket.write([]) }
  }
}

/// Ends the program with its standard input, a pipe. By a signal, because another thread would cost each system call
/// something.
private func endWithStandardInput() {
  signal(SIGIO) { _ in _exit(0) }
  _ = fcntl(STDIN_FILENO, F_SETOWN, getpid())
  _ = fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_ASYNC)
}
