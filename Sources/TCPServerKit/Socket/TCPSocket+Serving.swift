// SPDX-License-Identifier: Apache-2.0

/// What a connection that `serve` handed to a task knows of that task.
///
/// The waits of that very task need no handlers for its cancellation, which would be most of what a wait costs:
/// `serve`, which alone can cancel it from outside, wakes it to have a look.
extension TCPSocket {
  /// The calling task is the one that `serve` started for this connection.
  func beginServing() {
    servingTask = CurrentTask.address
  }

  func endServing() {
    servingTask = 0
  }

  /// Looks at the calling task, which is about to read or write.
  ///
  /// - Returns: whether it was cancelled.
  func recordServingTask(_ kind: SocketWaiters.Kind) -> Bool {
    let task = CurrentTask.address
    if servingTask != 0 && servingTask == task {
      flags.insert(Self.servedFlag(kind))
    } else {
      flags.remove(Self.servedFlag(kind))
    }
    return CurrentTask.isCancelled(at: task)
  }

  /// Whether the task that was noted last is the one that `serve` started.
  func isServed(_ kind: SocketWaiters.Kind) -> Bool {
    flags.contains(Self.servedFlag(kind))
  }

  private static func servedFlag(_ kind: SocketWaiters.Kind) -> Flags {
    kind == .reader ? .servedReader : .servedWriter
  }

  /// Wakes the tasks that `serve` started for the connections of a loop: those that were cancelled see that then,
  /// and the others wait on.
  static func wakeServingTasks(on engine: EventEngine) {
    unsafe watched(on: engine.base).forEach { socket in
      guard socket.servingTask != 0, let waiters = socket.existingWaiters else { return }
      waiters.reader.wake(.recheck)?.resume()
      waiters.wakeWriter(.recheck)
    }
  }
}

/// Who left a connection to the loop that was still closing, and learns of its end. A class and no protocol, because a
/// reference to one is half as long, and is part of each socket's details.
class ServedEndReceiver {
  func connectionEnded(_ socket: TCPSocket, _ end: ServedEnd) {}
}

/// How the task of a connection has ended.
struct ServedEnd {
  /// The program has the reason why bytes could not be delivered.
  var isReported = false
  /// The server was shutting down.
  var isInShutdown = false
}

extension TCPSocket {
  /// The connection has ended.
  func tellServing() {
    guard let details = existingDetails, let receiver = exchange(&details.endReceiver, with: nil) else {
      return
    }
    receiver.connectionEnded(self, details.servedEnd)
  }

  /// Ends at once what `receiver` has left to the loop.
  static func endClosing(leftBy receiver: ServedEndReceiver, on engine: EventEngine) {
    for socket in unsafe watched(on: engine.base)
    where socket.existingDetails?.endReceiver === receiver {
      socket.endNow()
    }
  }
}

/// Connections that a graceful shutdown, or the end of a connection's age, need not wait for.
extension TCPSocket {
  /// How long a connection that has answered is silent before a shutdown takes it for being between two messages.
  static let silenceBetweenMessages: Duration = .milliseconds(250)

  /// How long a client that has connected may take to send its first byte while the server ends.
  static let timeForFirstByte: Duration = .seconds(1)

  /// Ends the input of the sockets of a draining server whose tasks wait between two messages.
  static func endIdle(of context: SocketContext) {
    guard let engine = context.engine else { return }
    for socket in unsafe watched(on: engine.base) where socket.context === context {
      socket.endIfBetweenMessages()
    }
  }

  /// Ends the input where the task of a connection that is to end waits between two messages.
  func endIfBetweenMessages() {
    guard let existingWaiters, existingWaiters.reader.isWaiting, bytesHeld == 0, !hasSomethingToRead else {
      return
    }
    if existingWaiters.isBetweenMessages {
      if !isKeptIdle { wakeReader(.ready) }
    } else if !existingWaiters.knowsMessages && isSilent {
      wakeReader(.idle)
    }
  }

  /// Whether the wait for a message that the calling task is about to begin, or has begun, is over because the connection
  /// is to end.
  var endsBetweenMessages: Bool {
    if isBeyondMaximumAge { return true }
    guard context.drain != nil else { return false }
    if existingWaiters?.messages != .had {
      if let traffic = SystemCalls.traffic(descriptor) {
        if hasSentNothing(traffic) { return traffic.sinceSent >= Self.timeForFirstByte && !isKeptIdle }
      } else if let drain = context.drain {
        return .now - drain.start >= Self.timeForFirstByte && !isKeptIdle
      }
    }
    // A wait that begins now comes after an answer: its client has been served once more.
    return !(waiters.isBetweenMessages && isKeptIdle)
  }

  /// Whether the shutdown leaves the connection, which is idle, some time for its next message.
  private var isKeptIdle: Bool {
    context.drain?.keepsIdle ?? false && !isBeyondMaximumAge
  }

  /// Whether the client has not sent a byte yet: a PROXY header is its proxy's, and a handshake no message.
  func hasSentNothing(_ traffic: SystemCalls.Traffic) -> Bool {
    let before =
      transportSlot.map { UInt64($0.bytesOfHandshake) } ?? existingDetails?.origin?.bytesOfHeader ?? 0
    return traffic.bytesOfPeer <= before
  }

  private var isSilent: Bool {
    // Before the kernel is asked: what happens in between makes the silence longer, and not the shutdown.
    let now = ContinuousClock.now
    guard servingTask != 0, output == nil, bytesInPipe == 0,
      !(existingWaiters?.existingSettings?.writer.isTaken ?? false),
      let traffic = SystemCalls.traffic(descriptor)
    else { return false }
    let silence = Self.silenceBetweenMessages
    guard !hasSentNothing(traffic) else {
      return traffic.sinceSent >= Self.timeForFirstByte && !isKeptIdle
    }
    // Of a client that takes its answer slowly the kernel holds some yet.
    guard traffic.bytesAcknowledged > 0, traffic.isAllAcknowledged else { return false }
    guard traffic.sinceSent <= traffic.sinceReceived && traffic.sinceSent >= silence else { return false }
    guard isKeptIdle, let drain = context.drain else { return true }
    // Whether an answer was sent since the shutdown has begun; the kernel counts in steps.
    return traffic.sinceSent + Ticks.kernelStep < now - drain.start
  }
}
