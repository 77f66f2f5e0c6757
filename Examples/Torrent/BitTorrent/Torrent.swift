// SPDX-License-Identifier: Apache-2.0

import TCPServerKit

/// One torrent: its files, and the peers that have or want them.
final class Torrent {
  typealias Instant = ContinuousClock.Instant

  let metainfo: Metainfo
  let name: String
  unowned let client: TorrentClient
  let storage: Storage
  var picker: PiecePicker
  var announcer: Announcer
  var addresses = AddressBook()
  var peers: [PeerNumber: Peer] = [:]
  /// Connections that are being made.
  var attempts: Set<PeerNumber> = []
  var choker = Choker()
  var nextChoice: Instant
  var download: SpeedMeter
  var upload: SpeedMeter
  /// Whether there may be blocks to ask for that were not requested yet.
  var mayRequestMore = false
  /// Whether what is on disk is known.
  private(set) var isReady = false
  private var census: Task<Void, Never>?
  private var lastProgress = ""

  init(_ metainfo: Metainfo, client: TorrentClient) throws(StorageError) {
    self.metainfo = metainfo
    self.client = client
    name = printable(metainfo.name)
    storage = Storage(metainfo: metainfo, folder: client.settings.folder)
    picker = PiecePicker(layout: metainfo.layout, have: PieceSet(pieceCount: metainfo.layout.pieceCount))
    announcer = Announcer(trackers: metainfo.trackers)
    let now = Instant.now
    nextChoice = now
    download = SpeedMeter(now: now)
    upload = SpeedMeter(now: now)
    try storage.prepare()
  }

  var isComplete: Bool {
    picker.have.isComplete
  }

  var bytesThere: Int {
    let have = picker.have
    let last = metainfo.layout.range(ofPiece: metainfo.layout.pieceCount - 1)
    let missing = have.contains(metainfo.layout.pieceCount - 1) ? metainfo.layout.pieceLength - last.count : 0
    return have.count * metainfo.layout.pieceLength - missing
  }

  // MARK: - Beginning and ending

  /// Looks what is on disk already.
  func begin() {
    let (metainfo, folder, mailbox) = (metainfo, client.settings.folder, client.mailbox)
    // Detached: a task that merely runs elsewhere would run on this loop, by its preference.
    census = Task.detached {
      mailbox.post(.census(metainfo.infoHash, PieceChecker.takeCensus(metainfo, folder: folder)))
    }
  }

  func begin(with census: PieceChecker.Census) {
    self.census = nil
    picker = PiecePicker(layout: metainfo.layout, have: census.pieces)
    isReady = true
    let count = metainfo.layout.pieceCount
    client.tell("\(name): \(census.checked) of \(count) pieces checked, \(census.pieces.count) there.")
    if isComplete {
      tellComplete()
    }
    let now = Instant.now
    addresses.add(client.settings.peers, now: now)
    announcer.add(.started, now: now)
    for peer in Array(peers.values) where peer.isHeld {
      sendHandshake(to: peer)
      peer.release()
    }
  }

  /// No peers any more, and the tracker is to know.
  func stop() {
    census?.cancel()
    announcer.add(.stopped, now: .now)
    for peer in Array(peers.values) {
      peer.end()
    }
  }

  // MARK: - Peers come and go

  /// A peer that has connected wants this torrent.
  func join(_ peer: Peer) {
    peer.expectMessages(for: metainfo.layout)
    peers[peer.number] = peer
    guard isReady else { return peer.isHeld = true }
    if peer.isOutgoing {
      sendPieces(to: peer)
    } else {
      sendHandshake(to: peer)
    }
  }

  func sendHandshake(to peer: Peer) {
    peer.send(Handshake(infoHash: metainfo.infoHash, peerID: client.peerID).encoded)
    if !peer.isOutgoing {
      sendPieces(to: peer)
    }
  }

  private func sendPieces(to peer: Peer) {
    if picker.have.count > 0 {
      peer.send(.bitfield(picker.have.bitfield))
    }
  }

  func leave(_ peer: Peer) {
    attempts.remove(peer.number)
    if peer.isOutgoing {
      let outcome: AddressBook.Outcome =
        peer.peerID == nil ? .failed : isComplete && peer.pieces.isComplete ? .bothComplete : .worked
      addresses.ended(peer.endpoint, outcome, now: .now)
    }
    guard peers.removeValue(forKey: peer.number) != nil else { return }
    picker.remove(peer.pieces)
    picker.release(peer.number)
    mayRequestMore = true
    fillSlots()
  }

  /// Both connected to each other, or one of them twice: one connection stays, the same one on both sides.
  func resolveDuplicates(of peer: Peer, _ peerID: [UInt8]) {
    guard let other = peers.values.first(where: { $0 !== peer && $0.peerID == peerID }) else { return }
    let ours = client.peerID.lexicographicallyPrecedes(peerID) ? false : true
    if other.isOutgoing != peer.isOutgoing, peer.isOutgoing == ours {
      other.end()
    } else {
      peer.end()
    }
  }

  /// A seed has nothing to do for another.
  func dropIfBothComplete(_ peer: Peer) {
    if isComplete, peer.pieces.isComplete {
      peer.end()
    }
  }

  // MARK: - Progress

  func tellComplete() {
    client.tell("\(name): complete, \(metainfo.layout.totalLength) bytes.")
  }

  func tellProgress(_ now: Instant) {
    guard isReady, !isComplete || client.settings.seeds else { return }
    let tenths = bytesThere * 1000 / metainfo.layout.totalLength
    let progress =
      "\(tenths / 10).\(tenths % 10) %, \(picker.have.count) of \(metainfo.layout.pieceCount) pieces, "
      + "\(peers.count) peers, down \(download.speed(now: now) / 1024) KiB/s, "
      + "up \(upload.speed(now: now) / 1024) KiB/s"
    guard progress != lastProgress else { return }
    lastProgress = progress
    client.tell("\(name): \(progress)")
  }
}
