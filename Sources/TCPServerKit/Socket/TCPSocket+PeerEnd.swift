// SPDX-License-Identifier: Apache-2.0

internal import CServerCore
internal import Glibc

/// Noticing that the peer has gone, whether or not anything reads from the socket.
extension TCPSocket {
  /// Waits until the peer has ended its side, or the connection has ended in another way; returns at once if it has.
  ///
  /// Beside a task that reads, or without one: input may be left unread then. A handler that only writes, such as one
  /// that streams events, ends when its client has gone:
  ///
  /// ```swift
  /// try await withThrowingTaskGroup(of: Void.self) { group in
  ///   group.addTask { try await socket.waitUntilPeerEnded() }
  ///   group.addTask { while true { try await socket.write(nextEvent()) } }
  ///   _ = try await group.next()
  ///   group.cancelAll()
  /// }
  /// ```
  ///
  /// - Throws: ``SocketError/operation`` for a socket without an event base; `CancellationError`.
  ///
  /// ## Cancellation
  ///
  /// Throws `CancellationError`.
  ///
  /// ## Isolation
  ///
  /// May be called from any task.
  public func waitUntilPeerEnded() async throws {
    try await onLoop { try await $0.waitForPeerEnd() }
  }

  private func waitForPeerEnd() async throws {
    flags.insert(.watched)
    guard engine != nil else { throw refuseWithoutLoop() }
    while isEstablished && flags.isDisjoint(with: [.peerEnded, .inputEnded, .writeBroken]) {
      let engine = try loopToWaitOn()
      let line = waiters.settings.end
      let waiter = line.add()
      updateReadWatch()
      let reason = await engine.suspend(on: waiter)
      line.remove(waiter)
      if reason == .cancelled { throw CancellationError() }
    }
  }

  /// The peer has ended its side, or the connection is broken. Input may be left before its end.
  func notePeerEnded() {
    flags.insert(.peerEnded)
    existingWaiters?.existingSettings?.end.wakeAll()
  }

  /// The last byte of the input has been read.
  func noteInputEnded() {
    flags.insert(.inputEnded)
    notePeerEnded()
  }

  /// Input has come for which no task waits: reads ahead, so that an end behind it is noticed.
  func readAhead() {
    switch receiveIntoQueue() {
    case .bytes, .nothing:
      break
    case .end:
      // After a reset that a write has met, the kernel gives an end.
      if flags.contains(.writeBroken) {
        return connectionFailed(existingDetails?.failure ?? .remoteHostClosed)
      }
    case .failed(let errnum):
      return connectionFailed(failure(of: CSC_CALL_READ, errnum))
    }
    updateReadWatch()
  }

  /// Something has happened to a connection whose input is left in the kernel: ends it where the peer has reset it.
  func lookForReset() {
    guard descriptor >= 0 else { return }
    let (isError, isOver) = SystemCalls.hangUp(descriptor)
    if isError || isOver && flags.contains(.writeBroken) {
      takeRest(of: existingDetails?.failure)
    } else {
      // One that is there is not to be seen again and again.
      updateReadWatch()
    }
  }

  /// Takes what has come before a reset, as far as there is room for it, and ends the connection.
  ///
  /// - Parameter failure: what is known of the reason.
  func takeRest(of failure: Failure?) {
    var failure = flags.contains(.writeBroken) ? failure : nil
    var hasMore = false
    reading: while roomForInput > 0 {
      switch receiveIntoQueue() {
      case .bytes: hasMore = true
      case .failed(let errnum):
        failure = failure ?? self.failure(of: CSC_CALL_READ, errnum)
        break reading
      case .nothing, .end: break reading
      }
    }
    if hasMore && flags.contains(.wantsInput) { announceInput() }
    guard currentState == .connected || currentState == .closing else { return }
    connectionFailed(failure ?? Failure(CSC_CALL_READ, errno: ECONNRESET))
  }
}
