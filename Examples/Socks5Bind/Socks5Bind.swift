// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Glibc
import ServerProgram
import TCPServerKit

/// A file drop behind a SOCKS5 proxy: a client that connects to the proxy's port leaves a file here.
@main
struct Socks5Bind: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "Socks5Bind",
    abstract: "Stores what peers send to a port of a SOCKS5 proxy, a file for each.",
    discussion: """
      A peer sends the size of its file in digits, a newline, and the file.
      The password for --user is taken from the environment variable SOCKS5_PASSWORD.
      """
  )

  @Argument(help: "The folder to store the files in.")
  var folder: String

  @Option(help: "The proxy's address or name.")
  var proxy: String

  @Option(help: "The proxy's port.")
  var proxyPort: UInt16 = 1080

  @Option(help: "The port to ask the proxy for; 0 for any.")
  var port: UInt16 = 0

  @Option(help: "The user name for the proxy.")
  var user = ""

  @Flag(help: "Send the password to a proxy on another machine, in clear text.")
  var allowClearText = false

  @Option(help: "How many ports of the proxy take peers at once.")
  var ports = 1

  @Option(help: "The longest file to take, in bytes.")
  var limit = 100_000_000

  @OptionGroup var connectionLimit: ConnectionLimit

  @OptionGroup var deadlines: Deadlines

  /// How long peers may go on after a signal.
  private static let grace: Duration = .seconds(3)

  func validate() throws {
    guard (1...100).contains(ports) else {
      throw ValidationError("--ports takes a number from 1 to 100.")
    }
    guard access(folder, W_OK | X_OK) == 0 else {
      throw ValidationError("'\(folder)' is not a folder that can be written to.")
    }
    guard limit >= 0 else {
      throw ValidationError("--limit takes a number of bytes.")
    }
  }

  func run() throws {
    let loop = try makeEventBase()
    let shutdown = GracefulShutdown()
    shutdown.beginOnSignals(SIGINT, SIGTERM, timeout: Self.grace, eventBase: loop)
    let receiver = Receiver(folder: try dropFolder(), limit: limit, deadlines: deadlines)
    try loop.run { [self] in
      try await serve(receiver, until: shutdown)
    }
    printLine("Stopped; files stored: \(receiver.stored.load(ordering: .relaxed)).")
  }

  private func serve(_ receiver: Receiver, until shutdown: GracefulShutdown) async throws {
    let server = TCPServer()
    server.proxy = networkProxy
    server.proxyListenOptions.simultaneousBindings = ports
    server.serverAddressChanged.connect { [unowned server] in
      printLine("Now reachable at \(places(of: server)).")
    }
    server.acceptError.connect { [unowned server] _ in
      printLine("Trying again: \(server.errorString)")
    }
    guard server.listen(port: port) else {
      throw StartFailure(server)
    }
    // A peer has its connection and its file.
    connectionLimit.apply(to: server, descriptorsEach: 2)
    printLine("Reachable at \(server.serverAddress), port \(server.serverPort), through \(server.proxy).")
    try await server.serve(shutdown: shutdown) { try await receiver.receive(from: $0) }
  }

  private func dropFolder() throws -> DropFolder {
    do {
      return try DropFolder(path: folder)
    } catch {
      throw StartFailure("\(error)")
    }
  }

  private var networkProxy: NetworkProxy {
    let password = user.isEmpty ? nil : getenv("SOCKS5_PASSWORD").map { String(cString: $0) }
    var described = NetworkProxy.socks5(
      hostName: proxy,
      port: proxyPort,
      user: user,
      password: password ?? ""
    )
    described.allowsClearTextCredentials = allowClearText
    return described
  }

  private func places(of server: TCPServer) -> String {
    server.proxyBindings.map { "\($0.address), port \($0.port)" }.joined(separator: "; ")
  }
}
