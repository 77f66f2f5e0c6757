// SPDX-License-Identifier: Apache-2.0

/// Reads what a peer sends, without any input or output of its own: bytes go in, in any portions, events come out.
///
/// Holds one message at most, beside what it was given since the last event.
package struct WireMachine {
  package enum Event: Equatable {
    /// The handshake up to the info hash. The rest of it comes later.
    case infoHash(SHA1Hash)
    case peerID([UInt8])
    case message(PeerMessage)
  }

  package enum Failure: Error, Equatable {
    case noHandshake
    case tooLong(Int)
    case malformed(String)
  }

  private enum State {
    case prefix
    case peerID
    case messages
  }

  package static let longestMessage = 200_000
  /// Requests are for a block, usually; more than this no peer serves.
  package static let longestRequest = 131_072

  /// Of the torrent, to be set before messages are read: what they name has to be there.
  package var layout: PieceLayout?
  private var state = State.prefix
  private var buffer: [UInt8] = []
  private var position = 0

  package init() {}

  package mutating func receive(_ bytes: [UInt8]) {
    buffer.removeFirst(position)
    position = 0
    buffer += bytes
  }

  /// The next event; nil until more was received.
  package mutating func next() throws(Failure) -> Event? {
    switch state {
    case .prefix: try nextInfoHash()
    case .peerID: nextPeerID()
    case .messages: try nextMessage()
    }
  }

  // MARK: - Handshake

  private mutating func nextInfoHash() throws(Failure) -> Event? {
    let prefix = Handshake.prefix
    // Reported at the first byte that is wrong: others wait for an answer before they send more.
    guard available.prefix(prefix.count).elementsEqual(prefix.prefix(available.count)) else {
      throw .noHandshake
    }
    guard available.count >= Handshake.mainLength,
      let hash = SHA1Hash(available.prefix(Handshake.mainLength).suffix(SHA1Hash.size))
    else { return nil }
    position += Handshake.mainLength
    state = .peerID
    return .infoHash(hash)
  }

  private mutating func nextPeerID() -> Event? {
    let length = Handshake.length - Handshake.mainLength
    guard available.count >= length else { return nil }
    let peerID = Array(available.prefix(length))
    position += length
    state = .messages
    return .peerID(peerID)
  }

  // MARK: - Messages

  private mutating func nextMessage() throws(Failure) -> Event? {
    while available.count >= 4 {
      let length = number(at: 0)
      guard length <= Self.longestMessage else { throw .tooLong(length) }
      guard length > 0 else {
        position += 4
        return .message(.keepAlive)
      }
      guard available.count > 4 else { return nil }
      let kind = PeerMessage.Kind(rawValue: buffer[position + 4])
      if let kind {
        // Before the rest has come: what has a wrong length will not become right.
        try checkLength(length, of: kind)
      }
      guard available.count >= 4 + length else { return nil }
      defer { position += 4 + length }
      if let kind {
        return .message(try read(kind, length: length))
      }
    }
    return nil
  }

  private func checkLength(_ length: Int, of kind: PeerMessage.Kind) throws(Failure) {
    let isRight =
      switch kind {
      case .choke, .unchoke, .interested, .notInterested: length == 1
      case .have: length == 5
      // At any time: aria2 also sends one where it would have to send many times what it has got.
      case .bitfield: length == 1 + PieceSet.byteCount(layout?.pieceCount ?? 0)
      case .request, .cancel: length == 13
      case .piece: length > 9
      }
    guard isRight else { throw .malformed(kind.name) }
  }

  /// Reads a message that has come as a whole, and whose length is right.
  private func read(_ kind: PeerMessage.Kind, length: Int) throws(Failure) -> PeerMessage {
    let message: PeerMessage
    var stretch = Block(piece: 0, begin: 0, length: 1)
    switch kind {
    case .choke: message = .choke
    case .unchoke: message = .unchoke
    case .interested: message = .interested
    case .notInterested: message = .notInterested
    case .have:
      stretch.piece = number(at: 5)
      message = .have(stretch.piece)
    case .bitfield:
      message = .bitfield(Array(available.prefix(4 + length).dropFirst(5)))
    case .request, .cancel:
      stretch = Block(piece: number(at: 5), begin: number(at: 9), length: number(at: 13))
      message = kind == .request ? .request(stretch) : .cancel(stretch)
    case .piece:
      stretch = Block(piece: number(at: 5), begin: number(at: 9), length: length - 9)
      let data = Array(available.prefix(4 + length).dropFirst(13))
      message = .piece(stretch.piece, begin: stretch.begin, data: data)
    }
    guard layout?.contains(stretch) ?? false, kind != .request || stretch.length <= Self.longestRequest else {
      throw .malformed(kind.name)
    }
    return message
  }

  private var available: ArraySlice<UInt8> {
    buffer[position...]
  }

  /// Four bytes, of which the caller has seen that they are there.
  private func number(at offset: Int) -> Int {
    buffer[position + offset..<position + offset + 4].reduce(0) { $0 << 8 | Int($1) }
  }
}
