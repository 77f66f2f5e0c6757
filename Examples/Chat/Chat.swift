// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Glibc
import ServerProgram
import TCPServerKit

/// A chat room: what one member writes, all others read.
@main
struct Chat: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "Chat",
    abstract: "A chat room of lines. The first line of a member is its name."
  )

  @Option(help: "The address to listen on, * for all of them.", transform: hostAddress)
  var address = HostAddress.any

  @Option(help: "The port to listen on; 0 lets the system choose one.")
  var port: UInt16 = 4245

  @Option(help: "How many seconds members may go on after a signal; a second signal ends it.")
  var grace = 3.0

  @Option(help: "How many bytes are held for a member that does not read; one that needs more is cut off.")
  var held = 65536

  @OptionGroup var limit: ConnectionLimit

  @OptionGroup var deadlines: Deadlines

  /// The longest name and the longest line, with their newlines.
  static let (longestName, longestLine) = (32, 1024)

  func validate() throws {
    guard (0...1_000_000).contains(grace) else {
      throw ValidationError("--grace takes a number of seconds from 0 to 1000000.")
    }
    guard (1...1 << 30).contains(held) else {
      throw ValidationError("--held takes a number of bytes from 1 to 1073741824.")
    }
  }

  func run() throws {
    let loop = try makeEventBase()
    let shutdown = GracefulShutdown()
    shutdown.beginOnSignals(SIGINT, SIGTERM, timeout: .seconds(grace), eventBase: loop)
    let report = try loop.run { [self] in
      try await serve(Room(on: loop), until: shutdown)
    }
    printLine("Stopped; members: \(report.served).")
  }

  private func serve(_ room: Room, until shutdown: GracefulShutdown) async throws -> ServingReport {
    let server = TCPServer()
    guard server.listen(address: address, port: port) else {
      throw StartFailure(server)
    }
    limit.apply(to: server)
    printLine("Chat is listening on \(server.serverAddress), port \(server.serverPort).")
    return try await server.serve(shutdown: shutdown) { [self] socket in
      // What the system holds counts as well: by itself that grows to some MiB.
      socket.setSocketOption(.sendBufferSize, held)
      socket.writeBufferLimit = WriteBufferLimit(bytes: held, policy: .reset)
      try await converse(socket, in: room)
    }
  }

  private func converse(_ socket: TCPSocket, in room: Room) async throws {
    let first = try await socket.readLine(maxLength: Self.longestName, timeout: deadlines.firstByte)
    guard let name = first.map(plainText), !name.isEmpty else { return }
    guard await room.join(socket, as: name) else {
      try await socket.write("* There is a \(name) already.\n")
      return
    }
    do {
      // Also ends a member that only listens: who stays says something.
      while let line = try await socket.readLine(maxLength: Self.longestLine, timeout: deadlines.idle) {
        await room.send("\(name): \(plainText(line))", from: name)
      }
    } catch {
      await room.leave(name)
      throw error
    }
    await room.leave(name)
  }
}

/// A line without its end, and without what a terminal would obey.
func plainText(_ line: [UInt8]) -> String {
  let text = String(decoding: line, as: UTF8.self)
  return String(
    String.UnicodeScalarView(text.unicodeScalars.filter { $0.properties.generalCategory != .control })
  )
}
