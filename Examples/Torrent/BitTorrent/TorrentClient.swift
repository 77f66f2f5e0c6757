// SPDX-License-Identifier: Apache-2.0

import TCPServerKit

/// Downloads and serves torrents, all on one event loop, on whose thread everything here is called.
package final class TorrentClient {
  typealias Instant = ContinuousClock.Instant

  /// What other threads have found out.
  enum Letter: Sendable {
    case census(SHA1Hash, Result<PieceChecker.Census, StorageError>)
    case verdict(SHA1Hash, Result<PieceChecker.Verdict, StorageError>)
    case reply(SHA1Hash, tracker: String, Result<TrackerReply, TrackerError>)
  }

  /// How often budgets grow, peers get their turn, and the mailbox is looked into.
  private static let round: Duration = .milliseconds(50)
  /// How long trackers may take to hear that we go.
  private static let farewell: Duration = .seconds(2)

  let settings: Settings
  let peerID: [UInt8]
  let tell: (String) -> Void
  let mailbox = Mailbox<Letter>()
  let loop: EventBase
  private let server: TorrentServer
  var torrents: [SHA1Hash: Torrent] = [:]
  var peers: [PeerNumber: Peer] = [:]
  var lastPeer = 0
  private var failure: StorageError?
  /// Peers reach us here. The server itself knows it only while it listens.
  private var port: UInt16 = 0
  var downloadBudget: RateBudget
  var uploadBudget: RateBudget
  private var isStopping = false
  private var lastRound: Instant
  private var lastProgress: Instant

  /// - Parameter tell: is given what there is to tell, a line at a time.
  package init(
    _ metainfos: [Metainfo],
    settings: Settings,
    loop: EventBase,
    tell: @escaping (String) -> Void
  ) throws(TorrentFailure) {
    self.settings = settings
    self.loop = loop
    self.tell = tell
    let letters = Array("0123456789abcdefghijklmnopqrstuvwxyz".utf8)
    peerID = Array("-TK0100-".utf8) + (0..<12).compactMap { _ in letters.randomElement() }
    downloadBudget = RateBudget(limit: settings.downloadLimit)
    uploadBudget = RateBudget(limit: settings.uploadLimit)
    server = TorrentServer(eventBase: loop)
    lastRound = .now
    lastProgress = .now
    for metainfo in metainfos {
      // One file or folder for each.
      guard !torrents.values.contains(where: { $0.metainfo.name == metainfo.name }) else {
        throw TorrentFailure("Two torrents are called \(printable(metainfo.name))")
      }
      do throws(StorageError) {
        torrents[metainfo.infoHash] = try Torrent(metainfo, client: self)
      } catch {
        throw TorrentFailure(error.description)
      }
    }
  }

  /// Runs until all torrents are complete, or, where the settings say so, on; but no longer than until the shutdown.
  ///
  /// ## Cancellation
  ///
  /// Ends it as the shutdown does.
  ///
  /// ## Isolation
  ///
  /// Runs where its caller does, which must be on the client's loop.
  package func run(until shutdown: GracefulShutdown) async throws(TorrentFailure) {
    server.whenConnected = { [unowned self] in connected($0) }
    guard server.listen(address: settings.address, ports: settings.ports) else {
      throw TorrentFailure("Unable to start the server: \(server.errorString)")
    }
    port = server.serverPort
    tell("Listening on \(server.serverAddress), port \(port).")
    for torrent in torrents.values {
      torrent.begin()
    }
    var isCancelled = false
    while failure == nil, !isDone, !shutdown.hasBegun, !isCancelled {
      isCancelled = await !rest()
      doRound()
    }
    await stop()
    if let failure {
      throw TorrentFailure(failure.description)
    }
    guard shutdown.hasBegun else { return }
    for torrent in torrents.values {
      tell(
        "Stopped; \(torrent.name): \(torrent.picker.have.count) of \(torrent.metainfo.layout.pieceCount) pieces."
      )
    }
  }

  private var isDone: Bool {
    !settings.seeds && torrents.values.allSatisfy { $0.isReady && $0.isComplete }
  }

  /// False when the task was cancelled.
  private func rest() async -> Bool {
    do throws(CancellationError) {
      try await loop.sleep(for: Self.round)
      return true
    } catch {
      return false
    }
  }

  private func stop() async {
    isStopping = true
    server.close()
    for torrent in torrents.values {
      torrent.stop()
    }
    for peer in Array(peers.values) {
      peer.end()
    }
    let deadline = Instant.now + Self.farewell
    repeat {
      announce(.now)
      guard await rest() else { return }
      openMail()
    } while Instant.now < deadline && !torrents.values.allSatisfy(\.announcer.isIdle)
  }

  /// Something is wrong with the files: nothing goes on.
  func fail(_ error: StorageError) {
    failure = failure ?? error
  }

  // MARK: - Rounds

  private func doRound() {
    let now = Instant.now
    downloadBudget.refill(after: now - lastRound)
    uploadBudget.refill(after: now - lastRound)
    lastRound = now
    openMail()
    let present = Array(peers.values).shuffled()
    for peer in present {
      peer.checkTime(now, settings)
    }
    shareBudgets(among: present)
    announce(now)
    for torrent in torrents.values where torrent.isReady {
      torrent.requestMoreOfAll()
      torrent.chooseWhomToServe(now)
      connectMore(for: torrent, now)
    }
    if now - lastProgress >= .seconds(1) {
      lastProgress = now
      for torrent in torrents.values {
        torrent.tellProgress(now)
      }
    }
  }

  private func shareBudgets(among peers: [Peer]) {
    let unread = peers.filter(\.hasUnread)
    for (index, peer) in unread.enumerated() {
      peer.read(atMost: max(downloadBudget.available / (unread.count - index), 1))
    }
    for peer in peers where !peer.queue.isEmpty {
      peer.torrent?.serve(peer)
    }
  }

  private func openMail() {
    for letter in mailbox.takeAll() {
      switch letter {
      case .census(_, .failure(let error)), .verdict(_, .failure(let error)): fail(error)
      // Too late: what is there is checked again the next time.
      case .census where isStopping, .verdict where isStopping: break
      case .census(let hash, .success(let census)): torrents[hash]?.begin(with: census)
      case .verdict(let hash, .success(let verdict)): torrents[hash]?.accept(verdict)
      case .reply(let hash, _, .success(let reply)):
        torrents[hash]?.announcer.succeeded(reply, now: .now)
        torrents[hash]?.addresses.add(reply.peers.filter { !isOurselves($0) }, now: .now)
      case .reply(let hash, let tracker, .failure(let error)):
        tell("Tracker \(tracker): \(error)")
        torrents[hash]?.announcer.failed(now: .now)
      }
    }
  }

  /// Trackers name us, too. Where it does not show here, the peer ID does.
  private func isOurselves(_ endpoint: Endpoint) -> Bool {
    guard endpoint.port == port, let host = HostAddress(endpoint.host) else { return false }
    return host == server.serverAddress || host.isLoopback && server.serverAddress.isUnspecified
  }

  private func announce(_ now: Instant) {
    for (hash, torrent) in torrents {
      guard let (tracker, event) = torrent.announcer.next(now: now) else { continue }
      var request = TrackerRequest(
        infoHash: hash,
        peerID: peerID,
        port: port,
        left: torrent.metainfo.layout.totalLength - torrent.bytesThere
      )
      request.uploaded = torrent.upload.total
      request.downloaded = torrent.download.total
      request.event = event
      request.trackerID = torrent.announcer.trackerID
      ask(tracker, request)
    }
  }

  private func ask(_ tracker: String, _ request: TrackerRequest) {
    let (mailbox, hash) = (mailbox, request.infoHash)
    guard let address = request.address(of: tracker) else {
      return mailbox.post(
        .reply(hash, tracker: tracker, .failure(TrackerError("only HTTP trackers are asked")))
      )
    }
    HTTPFetch.start(address, mostBytes: TrackerReply.mostBytes) { result in
      let reply = result.flatMap { bytes in
        do throws(TrackerError) {
          return .success(try TrackerReply(bytes))
        } catch {
          return .failure(error)
        }
      }
      mailbox.post(.reply(hash, tracker: tracker, reply))
    }
  }
}

/// Why nothing goes on.
package struct TorrentFailure: Error, CustomStringConvertible {
  package let description: String

  package init(_ description: String) {
    self.description = description
  }
}

extension HostAddress {
  /// Whether a server here is reached at all addresses of this machine.
  fileprivate var isUnspecified: Bool {
    [.any, .anyIPv4, .anyIPv6].contains(self)
  }
}
