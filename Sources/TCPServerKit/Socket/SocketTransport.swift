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

/// A socket's transport, and what the socket notes of it.
@safe final class TransportSlot {
  let transport: any SocketTransport
  var state = State.handshaking(.input)
  /// Called instead of going on with the handshake, when the descriptor is ready.
  var onHandshakeReady: (() -> Void)?
  /// Called when the handshake needs an answer.
  var onHandshakeQuestion: (() -> Void)?
  /// Called once, when the handshake is complete, or will not be.
  var onHandshakeEnd: ((SocketError?) -> Void)?
  /// Why reading or sending has failed last.
  var failure: Failure?
  /// A read goes on once something that the peer has asked for was sent.
  var readNeedsRoom = false
  /// This side is to be ended when there is room for that.
  var owesEnd = false
  /// The loop comes back for input that the transport holds.
  var comesBack = false
  /// Something has moved since the loop looked last; see ``IdleTransports``.
  var isUsed = false
  /// Its place among the busy ones.
  var place: Int?
  /// Of a task that waits for input while the descriptor is not watched for that.
  var readTimer: LoopTimer?
  /// Ends a connection whose peer was sent why its handshake has failed, whatever that peer sends.
  var reasonTimer: LoopTimer?

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

  var isHandshaking: Bool {
    if case .handshaking = state { true } else { false }
  }

  /// Whether the socket's own reads and writes wait for something else than the descriptor.
  var holdsReader: Bool {
    state != .ready || readNeedsRoom
  }
}
