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
  fileprivate var next: Handshake?
  fileprivate unowned(unsafe) var previous: Handshake?

  init(_ socket: TCPSocket, _ transport: SSLTransport, _ beginning: ContinuousClock.Instant) {
    self.socket = socket
    self.transport = transport
    self.beginning = beginning
  }
}

/// Handshakes in the order in which they began, which is that of their deadlines.
@safe struct HandshakeList {
  private(set) var first: Handshake?
  private var last: Handshake?
  private(set) var count = 0
  /// Of those whose peer has not sent a byte.
  private var silentCount = 0

  mutating func append(_ handshake: Handshake) {
    unsafe handshake.previous = last
    if let last { last.next = handshake } else { first = handshake }
    last = handshake
    count += 1
    silentCount += handshake.hasSpoken ? 0 : 1
  }

  mutating func hasSpoken(_ handshake: Handshake) {
    guard !handshake.hasSpoken else { return }
    handshake.hasSpoken = true
    silentCount -= 1
  }

  /// - Returns: false where it was removed before.
  mutating func remove(_ handshake: Handshake) -> Bool {
    guard !handshake.isOver else { return false }
    handshake.isOver = true
    let (previous, next) = unsafe (handshake.previous, handshake.next)
    if let previous { previous.next = next } else { first = next }
    if let next { unsafe next.previous = previous } else { last = previous }
    handshake.next = nil
    unsafe handshake.previous = nil
    count -= 1
    silentCount -= handshake.hasSpoken ? 0 : 1
    return true
  }

  /// The one that makes room for another: of those whose peers are silent and those whose peers have sent something, the
  /// oldest of the kind that there is more of. A client in good faith is then never the only one of its kind.
  var mostExpendable: Handshake? {
    let isSilentOne = silentCount * 2 >= count
    var candidate = first
    while let handshake = candidate, handshake.hasSpoken == isSilentOne {
      candidate = handshake.next
    }
    return candidate
  }
}
