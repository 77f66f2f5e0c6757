// SPDX-License-Identifier: Apache-2.0

internal import TCPServerKit

/// One connection in its handshake.
final class Handshake {
  let socket: TCPSocket
  let transport: SSLTransport
  let beginning: ContinuousClock.Instant
  /// The peer has sent something, or has closed.
  fileprivate(set) var hasSpoken = false
  /// Its first step may be made; see ``HandshakePace``.
  var hasBegun = false
  /// It is in the queue of those that can continue.
  var isQueued = false
  /// The program is asked about the peer's certificate.
  var waitsForAnswer = false
  fileprivate(set) var isOver = false
  /// Among all.
  fileprivate var links = Links()
  /// Among those of its kind: the silent ones, or the others.
  fileprivate var linksOfKind = Links()

  @safe fileprivate struct Links {
    var next: Handshake?
    unowned(unsafe) var previous: Handshake?
  }

  init(_ socket: TCPSocket, _ transport: SSLTransport, _ beginning: ContinuousClock.Instant) {
    self.socket = socket
    self.transport = transport
    self.beginning = beginning
  }
}

/// Handshakes in the order in which they began, which is that of their deadlines.
struct HandshakeList {
  private var all = Chain(\.links)
  /// Those whose peer has not sent a byte, in the same order.
  private var silent = Chain(\.linksOfKind)
  /// The others, in the order of their first bytes.
  private var speaking = Chain(\.linksOfKind)

  var first: Handshake? { all.first }
  var count: Int { all.count }

  mutating func append(_ handshake: Handshake) {
    all.append(handshake)
    silent.append(handshake)
  }

  mutating func hasSpoken(_ handshake: Handshake) {
    guard !handshake.hasSpoken, !handshake.isOver else { return }
    silent.remove(handshake)
    handshake.hasSpoken = true
    speaking.append(handshake)
  }

  /// - Returns: false where it was removed before.
  mutating func remove(_ handshake: Handshake) -> Bool {
    guard !handshake.isOver else { return false }
    handshake.isOver = true
    all.remove(handshake)
    if handshake.hasSpoken { speaking.remove(handshake) } else { silent.remove(handshake) }
    return true
  }

  /// The one that makes room for another: of those whose peers are silent and those whose peers have sent something,
  /// the first of the kind that there is more of. A client in good faith is then never the only one of its kind.
  var mostExpendable: Handshake? {
    silent.count >= speaking.count ? silent.first : speaking.first
  }

  /// A list that goes through one of the links of its elements.
  @safe private struct Chain {
    private(set) var first: Handshake?
    private var last: Handshake?
    private(set) var count = 0
    private let links: ReferenceWritableKeyPath<Handshake, Handshake.Links>

    init(_ links: ReferenceWritableKeyPath<Handshake, Handshake.Links>) {
      self.links = links
    }

    mutating func append(_ handshake: Handshake) {
      unsafe handshake[keyPath: links].previous = last
      if let last { last[keyPath: links].next = handshake } else { first = handshake }
      last = handshake
      count += 1
    }

    mutating func remove(_ handshake: Handshake) {
      let (previous, next) = unsafe (handshake[keyPath: links].previous, handshake[keyPath: links].next)
      if let previous { previous[keyPath: links].next = next } else { first = next }
      if let next { unsafe next[keyPath: links].previous = previous } else { last = previous }
      handshake[keyPath: links] = Handshake.Links()
      count -= 1
    }
  }
}
