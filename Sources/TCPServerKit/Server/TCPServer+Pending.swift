// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// The queue of pending connections, beside what a subclass may override.
extension TCPServer {
  /// Takes the oldest pending connection without its socket, if it was added as one.
  func takePending() -> IncomingConnection? {
    if type(of: self) != TCPServer.self {
      // An override decides what comes next.
      while let socket = nextPendingConnection() {
        if let connection = taken(from: socket) { return connection }
      }
      return nil
    }
    var connection = csc_connection()
    guard unsafe csc_server_next_pending(core, &connection) else { return nil }
    proxyListener?.roomChanged()
    if connection.descriptor < 0 {
      return injectedSockets.isEmpty ? nil : taken(from: injectedSockets.removeFirst())
    }
    let proxied = unsafe connection.proxied.map { ProxiedConnection(taking: $0) }
    return IncomingConnection(
      connection.descriptor,
      connection.peer,
      proxied,
      source: connection.source,
      of: serverCore.remote
    )
  }

  private func taken(from socket: TCPSocket) -> IncomingConnection? {
    let (peer, proxied) = (socket.peer, socket.existingDetails?.origin?.proxied)
    let descriptor = socket.detach(stayingCounted: true)
    guard descriptor >= 0 else { return nil }
    return IncomingConnection(descriptor, peer, proxied, source: socket.takeSource(), of: serverCore.remote)
  }

  /// Adds a socket to the pending connections, whatever ``maxPendingConnections`` says.
  ///
  /// For an overridden ``incomingConnection(_:)`` that makes its own socket. ``nextPendingConnection()``
  /// returns that very object.
  public final func addPendingConnection(_ socket: TCPSocket) {
    requireLoopThread("TCPServer.addPendingConnection(_:)")
    var place = csc_connection()
    place.descriptor = -1
    if unsafe csc_server_add_pending(core, &place) {
      injectedSockets.append(socket)
      count(socket)
      // Unlike a signal, this wakes a task that waits for what is pending, too.
      serverCore.acceptWaiters.wakeFirst()
      serverCore.pendingAvailable?.notify()
    }
  }

  /// Its place in the queue counts from now on, instead of what counted before.
  private func count(_ socket: TCPSocket) {
    var source: UInt32 = 0
    if socket.flags.contains(.counted) {
      if socket.context.server === serverCore { source = socket.takeSource() }
      socket.releasePermit()
    } else if context.handsOver(socket.descriptor), let handover = context.handover, !handover.isPlaceTaken {
      context.handover?.isPlaceTaken = true
      source = handover.connection.source
      serverCore.connectionEnded()
    }
    if socket.descriptor >= 0 {
      socket.acquirePermit(of: context)
      if source != 0 { socket.origin.source = source }
      if socket.context.connectionRules != nil { socket.beginPolicy() }
    } else {
      serverCore.connectionEnded(from: source)
    }
  }

  /// Waits for a connection without running the event loop.
  ///
  /// True at once when a connection is pending, whether or not the server listens. Otherwise everything that the kernel
  /// holds is accepted, up to the limit, ``newConnection`` being emitted for each; where a handler or an overridden
  /// ``incomingConnection(_:)`` has taken them all, it waits on. Works while accepting is paused. Signals of the
  /// operating system do not shorten the wait.
  ///
  /// - Parameters:
  ///   - msec: milliseconds to wait at most; 0, the default, only looks; -1 waits without limit.
  ///   - timedOut: if not nil, set to whether the time ran out; untouched when the server does not listen.
  /// - Returns: whether ``hasPendingConnections`` is true now. False with ``SocketError/socketTimeout`` when the time
  ///   ran out, with another ``serverError`` when accepting failed, and when the server does not listen.
  @available(*, noasync, message: "It blocks its thread: use accept() or incomingConnections")
  @safe @discardableResult
  public final func waitForNewConnection(
    msec: Int = 0,
    timedOut: UnsafeMutablePointer<Bool>? = nil
  ) -> Bool {
    requireLoopThread("TCPServer.waitForNewConnection(msec:timedOut:)")
    neverWaited = nil
    let deadline = msec < 0 ? nil : ContinuousClock.now + Duration.milliseconds(msec).limited
    while true {
      if hasPendingConnections {
        if isListeningNow { unsafe timedOut?.pointee = false }
        return true
      }
      guard unsafe waitOnce(until: deadline, timedOut) else { return hasPendingConnections }
    }
  }

  private func waitOnce(
    until deadline: ContinuousClock.Instant?,
    _ timedOut: UnsafeMutablePointer<Bool>?
  ) -> Bool {
    if let proxyListener {
      return unsafe wait(for: proxyListener, until: deadline, timedOut)
    }
    // Rounded up, so that the last round is not over too early.
    let left = deadline.map { max(($0 - .now) / .milliseconds(1), 0).rounded(.up) }
    return unsafe csc_server_wait(core, left.map { CInt(clamping: Int($0)) } ?? -1, timedOut)
  }
}
