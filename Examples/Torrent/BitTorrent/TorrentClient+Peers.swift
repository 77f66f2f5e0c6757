// SPDX-License-Identifier: Apache-2.0

import TCPServerKit

/// Connections, in and out.
extension TorrentClient {
  /// How many peers a torrent looks for.
  private static let wantedPeers = 40
  /// How many of these at once.
  private static let mostAttempts = 10

  /// A peer has connected. Beyond the limit it is accepted and closed, so that it need not wait.
  func connected(_ socket: TCPSocket) {
    let endpoint = Endpoint(socket.peerAddress, port: socket.peerPort)
    guard peers.count < settings.mostConnections else {
      tell("Refused \(endpoint): \(settings.mostConnections) connections are open.")
      return socket.abort()
    }
    add(socket, endpoint, torrent: nil)
  }

  func connectMore(for torrent: Torrent, _ now: Instant) {
    var connected: Set<[UInt8]>?
    while torrent.attempts.count < Self.mostAttempts,
      torrent.peers.count + torrent.attempts.count < Self.wantedPeers,
      peers.count < settings.mostConnections
    {
      let present = connected ?? Set(torrent.peers.values.compactMap(\.peerID))
      connected = present
      guard let endpoint = torrent.addresses.next(now: now, connected: present) else { return }
      let socket = TCPSocket(eventBase: loop)
      let peer = add(socket, endpoint, torrent: torrent)
      torrent.attempts.insert(peer.number)
      socket.connectToHost(endpoint.host, port: endpoint.port)
    }
  }

  @discardableResult
  private func add(_ socket: TCPSocket, _ endpoint: Endpoint, torrent: Torrent?) -> Peer {
    lastPeer += 1
    let peer = Peer(number: lastPeer, socket: socket, endpoint: endpoint, torrent: torrent, client: self)
    peers[peer.number] = peer
    return peer
  }

  func remove(_ peer: Peer) {
    peers[peer.number] = nil
  }

  func drop(_ peer: Peer, _ reason: DropReason) {
    guard !peer.hasEnded else { return }
    tell("Dropped \(peer.endpoint): \(reason).")
    peer.end()
  }

  /// A peer has said which torrent it wants.
  func dispatch(_ peer: Peer, infoHash: SHA1Hash) {
    guard let torrent = torrents[infoHash], (peer.torrent ?? torrent) === torrent else {
      return drop(peer, .unknownInfoHash)
    }
    peer.torrent = torrent
    torrent.attempts.remove(peer.number)
    torrent.join(peer)
  }

  /// A peer has said who it is.
  func identified(_ peer: Peer, _ peerID: [UInt8]) {
    guard let torrent = peer.torrent else { return }
    guard peerID != self.peerID else {
      torrent.addresses.ban(peer.isOutgoing ? peer.endpoint : nil, nil)
      return drop(peer, .connectedToOurselves)
    }
    guard !torrent.addresses.isBanned(peerID) else { return peer.end() }
    if peer.isOutgoing {
      torrent.addresses.identify(peer.endpoint, peerID)
    }
    torrent.resolveDuplicates(of: peer, peerID)
  }
}
