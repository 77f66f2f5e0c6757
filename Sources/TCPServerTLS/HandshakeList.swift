// SPDX-License-Identifier: Apache-2.0

internal import TCPServerKit

/// One connection in its handshake.
final class Handshake: HandshakeObserver {
  /// It ends all of its handshakes before it ends itself.
  private unowned let handshakes: Handshakes
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

  init(
    _ socket: TCPSocket,
    _ transport: SSLTransport,
    _ beginning: ContinuousClock.Instant,
    of handshakes: Handshakes
  ) {
    self.socket = socket
    self.transport = transport
    self.beginning = beginning
    self.handshakes = handshakes
  }

  func handshakeIsReady() -> Bool {
    handshakes.isReady(self)
    return true
  }

  func handshakeNeedsAnswer() {
    handshakes.needsAnswer(self)
  }

  func handshakeEnded(_ failure: SocketError?) {
    handshakes.ended(self, failure)
  }
}

/// Handshakes in the order in which they began, which is that of their deadlines.
struct HandshakeList {
  private var all = Chain<LinksOfAll>()
  /// Those whose peer has not sent a byte, in the same order.
  private var silent = Chain<LinksOfKind>()
  /// The others, in the order of their first bytes.
  private var speaking = Chain<LinksOfKind>()

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
  @safe private struct Chain<Link: Linking> {
    private(set) var first: Handshake?
    private var last: Handshake?
    private(set) var count = 0

    mutating func append(_ handshake: Handshake) {
      unsafe Link[handshake].previous = last
      if let last { Link[last].next = handshake } else { first = handshake }
      last = handshake
      count += 1
    }

    mutating func remove(_ handshake: Handshake) {
      let (previous, next) = unsafe (Link[handshake].previous, Link[handshake].next)
      if let previous { Link[previous].next = next } else { first = next }
      if let next { unsafe Link[next].previous = previous } else { last = previous }
      Link[handshake] = Handshake.Links()
      count -= 1
    }
  }
}

/// Which links of its elements a list goes through. A type: a key path costs a handshake 10,000 instructions.
private protocol Linking {
  static subscript(handshake: Handshake) -> Handshake.Links { get set }
}

private enum LinksOfAll: Linking {
  static subscript(handshake: Handshake) -> Handshake.Links {
    get { handshake.links }
    set { handshake.links = newValue }
  }
}

private enum LinksOfKind: Linking {
  static subscript(handshake: Handshake) -> Handshake.Links {
    get { handshake.linksOfKind }
    set { handshake.linksOfKind = newValue }
  }
}
