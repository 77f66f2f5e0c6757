// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import BitTorrent
import Foundation
import TCPServerKit

/// Downloads torrents, and serves them.
@main
struct TorrentProgram: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "Torrent",
    abstract: "Downloads torrents from other BitTorrent clients, and serves them to these."
  )

  @Argument(help: "The torrent files.")
  var files: [String]

  @Option(help: "The folder to download to; what is there already is not fetched again.")
  var directory: String

  @Option(help: "The address to listen on, * for all of them.", transform: hostAddress)
  var address = HostAddress.any

  @Option(help: "The ports of which the first free one is listened on.", transform: portRange)
  var ports: ClosedRange<UInt16> = 6881...7000

  @Option(help: "How many connections there may be, in and out together.")
  var connections = 250

  @Option(help: "Bytes a second to read at most.")
  var downloadLimit: Int?

  @Option(help: "Bytes a second to send at most.")
  var uploadLimit: Int?

  @Flag(help: "Go on serving when everything is complete.")
  var seed = false

  @Option(
    name: .customLong("peer"),
    help: "HOST:PORT of a peer beside those that trackers name.",
    transform: endpoint
  )
  var peers: [Endpoint] = []

  @Option(help: "Seconds in which a connection has to be made and the handshake to be there.")
  var handshakeTimeout = 60.0

  @Option(help: "Seconds without a byte after which a peer is dropped.")
  var idleTimeout = 120.0

  @Option(help: "Seconds without a block that was asked for after which a peer is dropped.")
  var requestTimeout = 60.0

  @Option(help: "Seconds of silence after which a peer is told that we are still there.")
  var keepAlive = 30.0

  func validate() throws {
    guard connections > 0 else { throw ValidationError("--connections takes a number from 1 on.") }
    guard (downloadLimit ?? 1) > 0, (uploadLimit ?? 1) > 0 else {
      throw ValidationError("--download-limit and --upload-limit take a number from 1 on.")
    }
    guard [handshakeTimeout, idleTimeout, requestTimeout, keepAlive].allSatisfy({ $0 > 0 && $0 < 1_000_000 })
    else {
      throw ValidationError("Times are positive numbers of seconds.")
    }
  }

  func run() throws {
    let metainfos = try files.map(metainfo)
    let settings = settings
    let loop = try makeEventBase()
    let shutdown = GracefulShutdown()
    shutdown.beginOnSignals(SIGINT, SIGTERM, eventBase: loop)
    try loop.run {
      let client = try TorrentClient(metainfos, settings: settings, loop: loop, tell: tell)
      try await client.run(until: shutdown)
    }
  }

  private var settings: Settings {
    var settings = Settings(folder: directory)
    settings.address = address
    settings.ports = ports
    settings.mostConnections = connections
    settings.downloadLimit = downloadLimit
    settings.uploadLimit = uploadLimit
    settings.seeds = seed
    settings.peers = peers
    settings.handshakeTimeout = handshakeTimeout
    settings.idleTimeout = idleTimeout
    settings.requestTimeout = requestTimeout
    settings.keepAlive = keepAlive
    return settings
  }
}

private func metainfo(_ path: String) throws -> Metainfo {
  do {
    let bytes = try TorrentFile.read(path)
    return try Metainfo(bytes)
  } catch {
    throw TorrentFailure("\(path): \(error)")
  }
}

private func makeEventBase() throws -> EventBase {
  do {
    return try EventBase()
  } catch {
    throw TorrentFailure("Unable to start the server: no descriptors or no memory left for an event loop")
  }
}

@Sendable private func tell(_ line: String) {
  print(line)
  fflush(nil)
}
