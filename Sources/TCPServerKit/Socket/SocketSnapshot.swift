// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

extension TCPSocket {
  /// What one connection was at when its loop was asked; see ``TCPServer/Snapshot``.
  ///
  /// The numbers of bytes are the kernel's, which counts them for every connection; where it does not, they are nil.
  public struct Snapshot: Hashable, Sendable, CustomStringConvertible {
    /// What a connection waits for, or what waits for it.
    public enum Activity: String, Hashable, Sendable, CaseIterable {
      /// A task waits for bytes of the peer.
      case reading
      /// A task waits in ``TCPSocket/waitForMessage(timeout:)``, between two messages.
      case betweenMessages
      /// A task waits for the peer to take what was written.
      case writing
      /// A task waits for the connection to be made or to end.
      case waitingForState
      /// A task waits for the peer to end its side.
      case waitingForEnd
      /// A handler of `serve` is at work, and waits for nothing of this connection.
      case handling
      /// Handlers of signals are called when bytes come.
      case handlers
      /// It was closed: what was written is delivered, and the peer's end waited for.
      case closing
    }

    /// The peer.
    public let peerAddress: HostAddress
    /// The peer's port.
    public let peerPort: UInt16
    /// The descriptor, as `ss` and `lsof` show it.
    public let descriptor: CInt
    /// How far the connection has come.
    public let state: SocketState
    /// Since the connection was accepted. Nil where that is not known: with ``TCPServer/recordsConnectionAges`` it always
    /// is; otherwise only as long as bytes have gone in one direction at most. ``silence`` is a lower bound.
    public let age: Duration?
    /// Since bytes were last sent or received, or since the kernel completed the connection. The kernel counts in steps of
    /// some milliseconds.
    public let silence: Duration?
    /// Bytes of the peer that the program has read.
    public let bytesRead: UInt64?
    /// Bytes of the peer that have arrived, and were not read: those of the socket and those of the kernel.
    public let bytesToRead: Int
    /// Bytes that the peer has acknowledged.
    public let bytesDelivered: UInt64?
    /// Bytes that were written, and the peer has not acknowledged: those of the socket and those of the kernel.
    public let bytesToWrite: Int
    /// What waits; empty for a connection that the program does nothing with.
    public let activities: [Activity]
    /// The last error; nil without one.
    public let error: SocketError?
    /// Its text; empty without one.
    public let errorString: String

    /// One line.
    public var description: String {
      let peer = peerAddress.isIPv6 ? "[\(peerAddress)]:\(peerPort)" : "\(peerAddress):\(peerPort)"
      let times =
        "age \(age.map { "\($0.inSeconds) s" } ?? "unknown")"
        + (silence.map { ", silent for \($0.inSeconds) s" } ?? "")
      let doing = activities.isEmpty ? "nothing waits" : activities.map(\.inWords).joined(separator: ", ")
      return "\(peer), descriptor \(descriptor), \(state), \(times); "
        + "read \(count(bytesRead)) and \(bytesToRead) wait, delivered \(count(bytesDelivered)) and \(bytesToWrite) wait; "
        + doing + (error == nil ? "" : "; last error: \(errorString)")
    }

    private func count(_ bytes: UInt64?) -> String {
      bytes.map { "\($0)" } ?? "unknown"
    }

    /// The age as far as it is known: at least so old.
    var leastAge: Duration {
      age ?? silence ?? .zero
    }

    var json: JSONValue {
      .object([
        "peerAddress": .text("\(peerAddress)"),
        "peerPort": .integer(Int(peerPort)),
        "descriptor": .integer(Int(descriptor)),
        "state": .text("\(state)"),
        "age": JSONValue(age) { .seconds($0) },
        "silence": JSONValue(silence) { .seconds($0) },
        "bytesRead": JSONValue(bytesRead) { .count($0) },
        "bytesToRead": .integer(bytesToRead),
        "bytesDelivered": JSONValue(bytesDelivered) { .count($0) },
        "bytesToWrite": .integer(bytesToWrite),
        "activities": .array(activities.map { .text($0.rawValue) }),
        "error": JSONValue(error) { _ in .text(errorString) },
      ])
    }
  }

  /// For code that is on the loop already.
  ///
  /// - Parameter now: what recorded ages count to. One moment for all connections, so that their order is that in which
  ///   they began, however long looking at them takes.
  func snapshot(at now: ContinuousClock.Instant = .now) -> Snapshot {
    let traffic = SystemCalls.traffic(descriptor)
    let toRead = bytesHeld + SystemCalls.unreadBytes(descriptor)
    let unacknowledged = SystemCalls.unacknowledgedBytes(descriptor)
    let toWrite = held + bytesInPipe + max(unacknowledged - (traffic?.hasEndOnItsWay ?? false ? 1 : 0), 0)
    let received = traffic?.bytesOfPeer
    let delivered = traffic?.bytesDelivered(isAccepted: isAccepted)
    // Of a direction that has carried nothing the kernel counts from the beginning.
    let knownAge =
      if received == 0 {
        traffic?.sinceReceived
      } else if delivered == 0 && unacknowledged == 0 {
        traffic?.sinceSent
      } else {
        Duration?.none
      }
    let failure = existingDetails?.failure
    let error = failure?.error == .unknown ? nil : failure?.error
    return Snapshot(
      peerAddress: HostAddress(peer),
      peerPort: peer.port,
      descriptor: descriptor,
      state: currentState == .connected && flags.contains(.lingering) ? .closing : currentState,
      age: existingDetails?.origin?.beginning.map { max(now - $0, .zero) } ?? knownAge,
      silence: traffic.map { min($0.sinceReceived, $0.sinceSent) },
      bytesRead: received.map { $0 - min($0, UInt64(clamping: toRead)) },
      bytesToRead: toRead,
      bytesDelivered: delivered,
      bytesToWrite: toWrite,
      activities: activities,
      error: error,
      errorString: error == nil ? "" : failure?.text ?? ""
    )
  }

  private var activities: [Snapshot.Activity] {
    var found: [Snapshot.Activity] = []
    let waiters = existingWaiters
    let settings = waiters?.existingSettings
    if let waiters, waiters.reader.isWaiting {
      found.append(waiters.isBetweenMessages ? .betweenMessages : .reading)
    }
    if settings?.writer.isWaiting ?? false || !(settings?.writers.isEmpty ?? true) { found.append(.writing) }
    if !(settings?.state.isEmpty ?? true) { found.append(.waitingForState) }
    if !(settings?.end.isEmpty ?? true) { found.append(.waitingForEnd) }
    if servingTask != 0 && found.isEmpty { found.append(.handling) }
    if flags.contains(.wantsInput) { found.append(.handlers) }
    if currentState == .closing || flags.contains(.lingering) { found.append(.closing) }
    return found
  }
}

extension TCPSocket.Snapshot.Activity {
  /// For a person.
  fileprivate var inWords: String {
    switch self {
    case .reading: "a task reads"
    case .betweenMessages: "a task waits for the next message"
    case .writing: "a task writes"
    case .waitingForState: "a task waits for the connection to change"
    case .waitingForEnd: "a task waits for the peer's end"
    case .handling: "its handler is at work elsewhere"
    case .handlers: "handlers wait for input"
    case .closing: "it is closing"
    }
  }
}

/// The kernel counts an end as a byte, and so it does the beginning of a connection that this side has made.
extension SystemCalls.Traffic {
  var bytesOfPeer: UInt64 {
    bytesReceived - min(bytesReceived, hasEndOfPeer ? 1 : 0)
  }

  fileprivate func bytesDelivered(isAccepted: Bool) -> UInt64 {
    bytesAcknowledged - min(bytesAcknowledged, (hasEndDelivered ? 1 : 0) + (isAccepted ? 0 : 1))
  }
}

extension TCPSocket {
  /// Notes when the connection was accepted, to the turn of the loop, for a server that wants it.
  func recordBeginning(_ now: ContinuousClock.Instant) {
    guard context.recordsBeginnings, currentState == .connected, existingDetails?.origin?.beginning == nil
    else {
      return
    }
    origin.beginning = now
  }
}
