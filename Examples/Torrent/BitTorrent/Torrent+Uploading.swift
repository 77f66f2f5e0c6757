// SPDX-License-Identifier: Apache-2.0

/// Whom to serve, and serving them.
extension Torrent {
  /// More requests than these are not kept: a peer that sends them does not read.
  private static let mostRequests = 1024

  // MARK: - Whom

  /// Chooses again, if it is time to.
  func chooseWhomToServe(_ now: Instant) {
    guard now >= nextChoice else { return }
    nextChoice = now + Choker.interval
    let candidates = peers.values.filter(\.interestsUs).map { peer in
      Choker.Candidate(
        peer: peer.number,
        speed: isComplete ? peer.upload.speed(now: now) : peer.download.speed(now: now)
      )
    }
    let chosen = choker.choose(candidates)
    for peer in Array(peers.values) {
      if chosen.contains(peer.number) {
        unchoke(peer)
      } else if !peer.isChoked {
        peer.isChoked = true
        peer.queue = []
        peer.send(.choke)
      }
    }
  }

  /// Until the next choice no peer has to wait while there is room.
  func fillSlots() {
    guard isReady else { return }
    let served = peers.values.count { !$0.isChoked && $0.interestsUs }
    let waiting = peers.values.filter { $0.isChoked && $0.interestsUs }
    for peer in waiting.prefix(max(Choker.slots + 1 - served, 0)) {
      unchoke(peer)
    }
  }

  private func unchoke(_ peer: Peer) {
    guard peer.isChoked else { return }
    peer.isChoked = false
    peer.send(.unchoke)
  }

  // MARK: - What

  func enqueue(_ block: Block, of peer: Peer) {
    // Asked before it knew that it was choked.
    guard !peer.isChoked, picker.have.contains(block.piece) else { return }
    guard peer.queue.count < Self.mostRequests else { return client.drop(peer, .tooManyRequests) }
    peer.queue.append(block)
    serve(peer)
  }

  /// Sends what was asked for, as far as the budget goes and no more than the connection takes.
  func serve(_ peer: Peer) {
    let mostBacklog = client.uploadBudget.bufferSize(seconds: 2)
    while !peer.hasEnded, let block = peer.queue.first, peer.socket.bytesToWrite < mostBacklog,
      client.uploadBudget.available > 0
    {
      peer.queue.removeFirst()
      let offset = metainfo.layout.offset(of: block)
      do throws(StorageError) {
        guard let data = try storage.read(offset..<offset + block.length) else {
          throw StorageError("The files of \(name) have become shorter")
        }
        peer.send(.piece(block.piece, begin: block.begin, data: data))
      } catch {
        return client.fail(error)
      }
      client.uploadBudget.take(block.length)
      let now = Instant.now
      peer.upload.add(block.length, now: now)
      upload.add(block.length, now: now)
    }
  }
}
