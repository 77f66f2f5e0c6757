// SPDX-License-Identifier: Apache-2.0

/// What peers say, and fetching pieces from them.
extension Torrent {
  /// How many blocks a peer owes at most.
  private static let mostInFlight = 5

  func handle(_ message: PeerMessage, from peer: Peer) {
    switch message {
    case .keepAlive:
      break
    case .choke:
      peer.chokesUs = true
      peer.requested = []
      picker.release(peer.number)
      mayRequestMore = true
    case .unchoke:
      peer.chokesUs = false
      requestMore(of: peer)
    case .interested:
      peer.interestsUs = true
      fillSlots()
    case .notInterested:
      peer.interestsUs = false
      fillSlots()
    case .have(let piece):
      if peer.pieces.insert(piece) {
        picker.addPiece(piece)
        piecesChanged(of: peer)
      }
    case .bitfield(let bytes):
      guard let pieces = PieceSet(bitfield: bytes, pieceCount: metainfo.layout.pieceCount) else { break }
      picker.remove(peer.pieces)
      peer.pieces = pieces
      picker.add(pieces)
      piecesChanged(of: peer)
    case .request(let block):
      enqueue(block, of: peer)
    case .cancel(let block):
      peer.queue.removeAll { $0 == block }
    case .piece(let piece, let begin, let data):
      receive(Block(piece: piece, begin: begin, length: data.count), data, from: peer)
    }
  }

  private func piecesChanged(of peer: Peer) {
    updateInterest(in: peer)
    requestMore(of: peer)
    dropIfBothComplete(peer)
  }

  private func updateInterest(in peer: Peer) {
    let isInteresting = peer.pieces.hasMore(than: picker.have)
    guard isInteresting != peer.isInterested else { return }
    peer.isInterested = isInteresting
    peer.send(isInteresting ? .interested : .notInterested)
  }

  // MARK: - Blocks

  /// Blocks that one peer will not send are there for others. Not at once, but once a round: a peer that chokes us a
  /// thousand times in a row is not to have us look at all peers as often.
  func requestMoreOfAll() {
    guard mayRequestMore, isReady, !isComplete else { return }
    mayRequestMore = false
    for peer in Array(peers.values) {
      requestMore(of: peer)
    }
  }

  func requestMore(of peer: Peer) {
    while !peer.hasEnded, peer.isInterested, !peer.chokesUs, peer.requested.count < Self.mostInFlight,
      let block = picker.next(for: peer.number, having: peer.pieces)
    {
      peer.request(block)
    }
  }

  private func receive(_ block: Block, _ data: [UInt8], from peer: Peer) {
    guard peer.didReceive(block) else { return }
    download.add(block.length, now: .now)
    if case .block(let others) = picker.receive(block, from: peer.number) {
      do throws(StorageError) {
        try storage.write(data, at: metainfo.layout.offset(of: block))
      } catch {
        return client.fail(error)
      }
      for number in others {
        guard let other = peers[number] else { continue }
        other.requested.removeAll { $0 == block }
        other.send(.cancel(block))
        requestMore(of: other)
      }
      if picker.takeToCheck(block.piece) {
        check(block.piece)
      }
    }
    requestMore(of: peer)
  }

  // MARK: - Pieces

  private func check(_ piece: Int) {
    let (metainfo, folder, mailbox) = (metainfo, client.settings.folder, client.mailbox)
    let wantsBlockHashes = picker.wantsBlockHashes(of: piece)
    Task.detached {
      let verdict = PieceChecker.check(
        piece,
        of: metainfo,
        folder: folder,
        wantsBlockHashes: wantsBlockHashes
      )
      mailbox.post(.verdict(metainfo.infoHash, verdict))
    }
  }

  func accept(_ verdict: PieceChecker.Verdict) {
    let liars = picker.didCheck(verdict.piece, isRight: verdict.isRight, blockHashes: verdict.blockHashes)
    for liar in liars {
      guard let peer = peers[liar] else { continue }
      addresses.ban(peer.isOutgoing ? peer.endpoint : nil, peer.peerID)
      client.drop(peer, .wrongPiece(verdict.piece))
    }
    mayRequestMore = true
    guard verdict.isRight else { return }
    if isComplete {
      tellComplete()
      announcer.add(.completed, now: .now)
    }
    for peer in Array(peers.values) {
      if !peer.pieces.contains(verdict.piece) {
        peer.send(.have(verdict.piece))
      }
      updateInterest(in: peer)
      dropIfBothComplete(peer)
    }
  }
}
