// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// Listening, and what listens.
extension TCPServer {
  /// Listens for connections on an address and port.
  ///
  /// Through a ``proxy`` it blocks until that has answered, for ``NetworkProxy/timeout`` at most;
  /// ``startListening(address:port:)`` suspends instead.
  ///
  /// - Parameters:
  ///   - address: one of this machine's addresses; ``HostAddress/any``, the default, is every interface, IPv4
  ///     and IPv6. ``HostAddress/null`` is refused.
  ///   - port: the port; 0, the default, lets the kernel choose one, which ``serverPort`` returns.
  /// - Returns: true on success. Otherwise ``serverError`` and ``errorString`` say why, and nothing is left
  ///   open.
  @discardableResult
  public final func listen(address: HostAddress = .any, port: UInt16 = 0) -> Bool {
    requireLoopThread("TCPServer.listen(address:port:)")
    switch prepareListening(address, port) {
    case .direct: return listenDirectly(address, port)
    case .through(let listener): return listen(through: listener)
    case .refused: return false
    }
  }

  func listenDirectly(_ address: HostAddress, _ port: UInt16) -> Bool {
    opening {
      var address = address.core(port: port)
      return unsafe csc_server_listen(core, &address)
    }
  }

  /// Sets the options of the sockets that `open` makes.
  func opening(_ open: () -> Bool) -> Bool {
    refusedOption = false
    unsafe serverCore.listener = self
    let opened = open()
    unsafe serverCore.listener = nil
    if !opened && refusedOption { fail(.unsupportedSocketOperation, "A socket option was refused") }
    if opened { warnUnlessWaited() }
    return opened
  }

  /// In a task, and where there are handlers, an event base was forgotten.
  private func warnUnlessWaited() {
    guard eventBase == nil, newConnection.hasHandlers || CurrentEventBase.isInTask else { return }
    neverWaited = LateWarning(
      """
      A TCPServer without an EventBase has listened for 2 seconds, and nothing waits for its clients. Make the server \
      within EventBase.withThread(_:) or EventBase.run(_:), or call waitForNewConnection(msec:timedOut:).
      """
    )
  }

  /// What the end of the last listening has left: why it broke, and that its connections are not to begin anything new.
  func forgetLastEnd() {
    if !isMember { hasEnded = false }
    serverCore.listenerFailure = nil
    context.drain = nil
  }

  /// A pause ends with the listening that it interrupted. One that is asked for before the next holds for that.
  func endPause() {
    if isPaused { resumeAccepting() }
  }

  /// Stops listening and closes the connections that are still pending. Connections taken before are not
  /// touched; settings and the last error stay. No signal is emitted.
  ///
  /// Clients that the kernel had queued for the server are reset. May be called from any thread.
  public final func close() {
    guard !isPosted("TCPServer.close()", { $0.close() }) else { return }
    closeHere()
    group?.close()
  }

  func closeHere() {
    hasEnded = true
    neverWaited = nil
    exchange(&proxyListener, with: nil)?.close()
    unsafe csc_server_close(core)
    serverCore.endUndelivered?()
    endPause()
    endAdded()
    serverCore.prefacesAreOver()
  }

  /// Letting go of them would not do: the loop keeps a socket alive that it watches for its handlers.
  private func endAdded() {
    for socket in exchange(&injectedSockets, with: []) {
      socket.becomeUnconnected()
    }
  }

  /// Whether the server listens.
  public final var isListening: Bool {
    requireLoopThread("TCPServer.isListening")
    return isListeningNow
  }

  /// For code that is on the loop already.
  final var isListeningNow: Bool {
    unsafe csc_server_is_listening(core) || proxyListener?.isListening == true
  }

  /// The address the server listens on, or a proxy for it; ``HostAddress/null`` when it does not.
  public final var serverAddress: HostAddress {
    requireLoopThread("TCPServer.serverAddress")
    if let group { return group.serverAddress }
    return unsafe proxyListener?.binding?.address ?? HostAddress(csc_server_address(core))
  }

  /// The port the server listens on, or a proxy for it; 0 when it does not.
  public final var serverPort: UInt16 {
    requireLoopThread("TCPServer.serverPort")
    if let group { return group.serverPort }
    return unsafe proxyListener?.binding?.port ?? csc_server_port(core)
  }

  /// The listening descriptor, which the server owns; -1 when it does not listen. The server holds a duplicate
  /// for its own use beside it. Through a proxy, the connection to that; -1 while there is none.
  public final var socketDescriptor: CInt {
    requireLoopThread("TCPServer.socketDescriptor")
    return unsafe proxyListener?.socketDescriptor ?? csc_server_descriptor(core)
  }

  /// Takes over a listening socket, such as one that a service manager opened.
  ///
  /// - Returns: true when the descriptor is the server's now; false when it is not a listening IPv4, IPv6 or
  ///   UNIX stream socket, belongs to another server, or this server listens already. Then ``errorString`` says
  ///   which, and the descriptor is untouched and still the caller's.
  @discardableResult
  public final func setSocketDescriptor(_ socketDescriptor: CInt) -> Bool {
    requireLoopThread("TCPServer.setSocketDescriptor(_:)")
    guard !isMember else {
      failAsMember()
      return false
    }
    guard proxyListener == nil else {
      fail(.operation, "setSocketDescriptor() called when already listening")
      return false
    }
    forgetLastEnd()
    guard unsafe csc_server_adopt(core, socketDescriptor) else { return false }
    // The connections inherit it, as from a socket of the server's own.
    SystemCalls.keepUrgentBytesInLine(socketDescriptor)
    warnUnlessWaited()
    return true
  }
}
