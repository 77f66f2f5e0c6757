// SPDX-License-Identifier: Apache-2.0

/// What is between a socket and its descriptor, where that is not nothing: encryption. The socket calls it, on its own
/// thread; it makes system calls on the descriptor, and never waits.
package protocol SocketTransport: AnyObject {
  /// Does as much of the handshake as is possible now.
  func handshake() -> TransportStep

  /// Reads what there is, once: 0 is the peer's end.
  func receive(into buffer: UnsafeMutableRawBufferPointer) -> TransportCount

  /// Sends what the kernel takes. What it did not take is offered again, with or without more behind it.
  func send(_ bytes: UnsafeRawBufferPointer) -> TransportCount

  /// Ends this side, after what was sent; the descriptor is shut down by the socket.
  func endWriting() -> TransportStep

  /// Whether ``receive(into:)`` has something that the kernel does not announce.
  var hasBufferedInput: Bool { get }

  /// How many of the bytes that ``send(_:)`` has not taken are to be offered again, and cannot be taken back.
  var begunBytes: Int { get }

  /// Whether the handshake, while it needs an answer, cannot be complete without more of the peer.
  var needsMoreFromPeer: Bool { get }

  /// Nothing has moved for a while: frees buffers that are empty.
  func releaseBuffers()

  /// The descriptor is about to be closed: nothing is called any more.
  func connectionEnded()
}

extension SocketTransport {
  package var needsMoreFromPeer: Bool { false }
}

/// What a step of a ``SocketTransport`` has come to.
package enum TransportStep {
  case done
  case needsInput
  case needsRoom
  /// Goes on by `TCPSocket.continueHandshake()`.
  case needsAnswer
  case failed(TransportFailure)
}

/// What a ``SocketTransport`` has moved.
package enum TransportCount {
  case count(Int)
  case needsInput
  case needsRoom
  case failed(TransportFailure)
}

/// Why a ``SocketTransport`` cannot go on.
package enum TransportFailure {
  case system(errno: CInt)
  /// - Parameter isExplained: the peer was sent the reason, and is given time to read it.
  case other(SocketError, text: String, isExplained: Bool)
}

/// What follows a handshake of a ``SocketTransport``, while it lasts. Called on the loop.
package protocol HandshakeObserver: AnyObject {
  /// The descriptor is ready.
  ///
  /// - Returns: false to go on at once; true when the observer calls `continueHandshake()` in its own time.
  func handshakeIsReady() -> Bool

  /// The handshake needs an answer; then the observer calls `continueHandshake()`.
  func handshakeNeedsAnswer()

  /// Called once, as the last of all, and never from within `beginHandshake`: with nil when all that is written is
  /// encrypted, or with what is wrong when the connection has ended, or is about to.
  func handshakeEnded(_ failure: SocketError?)
}

extension HandshakeObserver {
  package func handshakeIsReady() -> Bool { false }
  package func handshakeNeedsAnswer() {}
}

/// A socket's transport, and what the socket notes of it. In an order without gaps: each encrypted connection has one.
@safe final class TransportSlot {
  /// See ``TCPSocket/servingTask``.
  var servingTask: UInt = 0
  let transport: any SocketTransport
  /// Nil once the handshake is complete, or will not be.
  var observer: (any HandshakeObserver)?
  private(set) var exceptions: Exceptions?
  /// Its place among the busy ones; negative for none. See ``IdleTransports``.
  var place: Int32 = -1
  var state = State.handshaking(.input)
  /// How many bytes the peer had sent when the handshake was complete, without any that came after it; all until then.
  var bytesOfHandshake: UInt32 = .max
  private var notes: Notes = []

  /// What few connections need, or for a short time.
  final class Exceptions {
    /// Why reading or sending has failed last.
    var failure: Failure?
    /// Of a task that waits for input while the descriptor is not watched for that.
    var readTimer: LoopTimer?
    /// Ends a connection whose peer was sent why its handshake has failed, whatever that peer sends.
    var reasonTimer: LoopTimer?
  }

  private struct Notes: OptionSet {
    let rawValue: UInt8
    static let readNeedsRoom = Notes(rawValue: 1 << 0)
    static let owesEnd = Notes(rawValue: 1 << 1)
    static let comesBack = Notes(rawValue: 1 << 2)
    static let isUsed = Notes(rawValue: 1 << 3)
  }

  /// What a handshake waits for.
  enum Need {
    case input
    case room
    /// The descriptor is watched for its end alone: the loop would be busy with what the peer sends meanwhile.
    case answer
  }

  enum State: Equatable {
    case handshaking(Need)
    case ready
    case failed
  }

  init(_ transport: any SocketTransport) {
    self.transport = transport
  }

  /// A read goes on once something that the peer has asked for was sent.
  var readNeedsRoom: Bool {
    get { notes.contains(.readNeedsRoom) }
    set { note(.readNeedsRoom, newValue) }
  }

  /// This side is to be ended when there is room for that.
  var owesEnd: Bool {
    get { notes.contains(.owesEnd) }
    set { note(.owesEnd, newValue) }
  }

  /// The loop comes back for input that the transport holds.
  var comesBack: Bool {
    get { notes.contains(.comesBack) }
    set { note(.comesBack, newValue) }
  }

  /// Something has moved since the loop looked last; see ``IdleTransports``.
  var isUsed: Bool {
    get { notes.contains(.isUsed) }
    set { note(.isUsed, newValue) }
  }

  @inline(__always) private func note(_ note: Notes, _ isTrue: Bool) {
    if isTrue { notes.insert(note) } else { notes.remove(note) }
  }

  /// Whether it is among the busy ones.
  var isListed: Bool {
    place >= 0
  }

  var needsExceptions: Exceptions {
    if let exceptions { return exceptions }
    let made = Exceptions()
    exceptions = made
    return made
  }

  func setReadTimer(_ timer: LoopTimer?) {
    if let timer { needsExceptions.readTimer = timer } else { exceptions?.readTimer = nil }
  }

  func stopTimers() {
    exceptions?.readTimer = nil
    exceptions?.reasonTimer = nil
  }

  var isHandshaking: Bool {
    if case .handshaking = state { true } else { false }
  }

  /// Whether the socket's own reads and writes wait for something else than the descriptor.
  var holdsReader: Bool {
    state != .ready || readNeedsRoom
  }
}
