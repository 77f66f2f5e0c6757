// SPDX-License-Identifier: Apache-2.0

import TCPServerKit

/// A connection to another client, from the first byte of its handshake on.
///
/// Reads as much as the common budget allows, cuts it into messages, and gives these to its torrent.
final class Peer {
  typealias Instant = ContinuousClock.Instant

  /// How many bytes it may leave unread of what is not blocks before it is given up.
  private static let mostBacklog = 4 << 20

  let number: PeerNumber
  let socket: TCPSocket
  let endpoint: Endpoint
  let isOutgoing: Bool
  unowned let client: TorrentClient
  /// Known from the start where we connect, else from the handshake on.
  weak var torrent: Torrent?

  private var machine = WireMachine()
  /// Nothing more is read until its torrent is ready for it.
  var isHeld = false
  private(set) var peerID: [UInt8]?
  private(set) var hasEnded = false

  var pieces = PieceSet(pieceCount: 0)
  var isChoked = true
  var isInterested = false
  var chokesUs = true
  var interestsUs = false
  /// What it was asked for, and has not sent yet.
  var requested: [Block] = []
  /// What it asks for.
  var queue: [Block] = []

  private let began: Instant
  private var lastReceived: Instant
  private var lastSent: Instant
  /// When it was asked, or sent a block, last.
  private var lastAnswer: Instant
  var download: SpeedMeter
  var upload: SpeedMeter

  init(number: PeerNumber, socket: TCPSocket, endpoint: Endpoint, torrent: Torrent?, client: TorrentClient) {
    self.number = number
    self.socket = socket
    self.endpoint = endpoint
    self.client = client
    self.torrent = torrent
    isOutgoing = torrent != nil
    let now = Instant.now
    began = now
    lastReceived = now
    lastSent = now
    lastAnswer = now
    download = SpeedMeter(now: now)
    upload = SpeedMeter(now: now)
    connectSignals()
  }

  private func connectSignals() {
    socket.readBufferSize = client.downloadBudget.bufferSize(seconds: 4)
    // Weak: a socket may still have something to report when its peer has gone.
    socket.connected.connect { [weak self] in self?.connected() }
    socket.readyRead.connect { [weak self] in self?.read() }
    socket.bytesWritten.connect { [weak self] _ in self?.wrote() }
    socket.errorOccurred.connect { [weak self] _ in self?.end() }
    socket.disconnected.connect { [weak self] in self?.end() }
  }

  private func connected() {
    lastReceived = .now
    torrent?.sendHandshake(to: self)
  }

  private func wrote() {
    torrent?.serve(self)
  }

  /// Ends the connection and forgets the peer. Harmless when called again.
  func end() {
    guard !hasEnded else { return }
    hasEnded = true
    torrent?.leave(self)
    client.remove(self)
    socket.abort()
  }

  // MARK: - Reading

  var hasUnread: Bool {
    !hasEnded && !isHeld && socket.bytesAvailable > 0
  }

  func read(atMost share: Int = .max) {
    let room = min(client.downloadBudget.available, share)
    guard !hasEnded, !isHeld, room > 0, let bytes = socket.read(maxLength: room), !bytes.isEmpty else {
      return
    }
    client.downloadBudget.take(bytes.count)
    lastReceived = .now
    machine.receive(bytes)
    handleEvents()
  }

  /// The torrent is ready: what the peer has said meanwhile is heard.
  func release() {
    isHeld = false
    lastReceived = .now
    handleEvents()
    read()
  }

  /// From now on messages are read, for this torrent.
  func expectMessages(for layout: PieceLayout) {
    machine.layout = layout
    pieces = PieceSet(pieceCount: layout.pieceCount)
  }

  private func handleEvents() {
    do throws(WireMachine.Failure) {
      while !hasEnded, !isHeld, let event = try machine.next() {
        handle(event)
      }
    } catch {
      client.drop(self, DropReason(error))
    }
  }

  private func handle(_ event: WireMachine.Event) {
    switch event {
    case .infoHash(let hash):
      client.dispatch(self, infoHash: hash)
    case .peerID(let id):
      peerID = id
      client.identified(self, id)
    case .message(let message):
      torrent?.handle(message, from: self)
    }
  }

  // MARK: - Writing

  func send(_ message: PeerMessage) {
    send(message.encoded)
  }

  func send(_ bytes: [UInt8]) {
    guard !hasEnded else { return }
    lastSent = .now
    socket.write(bytes)
    if socket.bytesToWrite > Self.mostBacklog {
      end()
    }
  }

  func request(_ block: Block) {
    if requested.isEmpty {
      lastAnswer = .now
    }
    requested.append(block)
    send(.request(block))
  }

  /// A block has come. Returns whether it was asked for.
  func didReceive(_ block: Block) -> Bool {
    guard let index = requested.firstIndex(of: block) else { return false }
    requested.remove(at: index)
    let now = Instant.now
    lastAnswer = now
    download.add(block.length, now: now)
    return true
  }

  // MARK: - Time

  /// Sends what keeps the connection, or ends it.
  func checkTime(_ now: Instant, _ settings: Settings) {
    guard !hasEnded, !isHeld else { return }
    guard peerID != nil else {
      guard now - began > .seconds(settings.handshakeTimeout) else { return }
      // There is no peer that could have sent one.
      guard socket.state == .connected else { return end() }
      return client.drop(self, .noHandshakeWithin(settings.handshakeTimeout))
    }
    if hasUnread {
      // The wait is ours.
      lastReceived = now
      lastAnswer = now
    }
    if now - lastReceived > .seconds(settings.idleTimeout) {
      client.drop(self, .nothingReceivedFor(settings.idleTimeout))
    } else if !requested.isEmpty, now - lastAnswer > .seconds(settings.requestTimeout) {
      client.drop(self, .noAnswerFor(settings.requestTimeout))
    } else if now - lastSent > .seconds(settings.keepAlive) {
      send(.keepAlive)
    }
  }
}
