// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Glibc
import NIOCore
import NIOPosix
import ServerProgram
import TCPServerKit

/// Accepts with TCPServer and serves with SwiftNIO; the listening socket may come from SwiftNIO, too.
@main
struct NIOHandoff: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "NIOHandoff",
    abstract: "Sends back whatever a client sends, by a channel of SwiftNIO."
  )

  @Option(help: "The address to listen on, * for all of them.", transform: hostAddress)
  var address = HostAddress.any

  @Option(help: "Let SwiftNIO look up this name and listen there, instead of --address.")
  var name: String?

  @Option(help: "The port to listen on; 0 lets the system choose one.")
  var port: UInt16 = 4244

  @OptionGroup var limit: ConnectionLimit

  @OptionGroup var deadlines: Deadlines

  /// How long connections may go on after a signal.
  private static let grace: Duration = .seconds(3)

  func run() throws {
    let loop = try makeEventBase()
    loop.stopOnSignals(SIGINT, SIGTERM)
    let group = MultiThreadedEventLoopGroup(numberOfThreads: System.coreCount)
    defer { try? group.syncShutdownGracefully() }

    let (firstByte, idle) = (TimeAmount(deadlines.firstByte), TimeAmount(deadlines.idle))
    let server = ChannelServer(
      eventBase: loop,
      group: group,
      initialize: { Echo.serve($0, firstByte: firstByte, idle: idle) },
      whenFailed: { printLine("A client was not served: \($0).") }
    )
    try listen(server, group)
    limit.apply(to: server)
    printLine("Listening on \(server.serverAddress), port \(server.serverPort), for SwiftNIO.")

    loop.run()

    server.close()
    server.runUntilConnectionsEnded(timeout: Self.grace)
    let unfinished = server.statistics.live
    // Closes the channels that are left. Each of them notifies the server, whose loop has to run once more for that.
    try group.syncShutdownGracefully()
    server.runUntilConnectionsEnded(timeout: Self.grace)
    printLine("Stopped; connections served: \(server.statistics.delivered), cut off: \(unfinished).")
  }

  private func listen(_ server: TCPServer, _ group: any EventLoopGroup) throws {
    guard let name else {
      guard server.listen(address: address, port: port) else { throw StartFailure(server) }
      return
    }
    let descriptor: CInt
    do {
      descriptor = try listenWithNIO(name: name, port: port, on: group)
    } catch {
      throw StartFailure("\(error)")
    }
    guard server.setSocketDescriptor(descriptor) else {
      close(descriptor)
      throw StartFailure(server)
    }
  }
}
