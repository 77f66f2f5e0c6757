// SPDX-License-Identifier: Apache-2.0

internal import CServerCore
internal import Glibc

/// The descriptor under a socket: taking one over, giving it away, and the addresses the kernel knows.
extension TCPSocket {
  /// The native descriptor, owned by the socket; -1 when it is not connected.
  public var socketDescriptor: CInt {
    requireLoopThread("TCPSocket.socketDescriptor")
    return descriptor
  }

  /// Takes over a connected descriptor, as `QAbstractSocket::setSocketDescriptor` does.
  ///
  /// With ``TCPServer/incomingConnection(_:)`` overridden, this is how a connection becomes a socket, on
  /// whichever thread the socket is to live. The descriptor is made non-blocking and close-on-exec.
  ///
  /// - Returns: true when the descriptor is the socket's now; false when it is not a connected IPv4, IPv6 or
  ///   UNIX stream socket, or this socket is in use: then ``error`` says why, and the descriptor is untouched and
  ///   still the caller's. A connection that the peer has reset meanwhile is accepted, without its address; with
  ///   it on the server's loop within ``TCPServer/incomingConnection(_:)``.
  @discardableResult
  public func setSocketDescriptor(_ socketDescriptor: CInt) -> Bool {
    requireLoopThread("TCPSocket.setSocketDescriptor(_:)")
    guard currentState == .unconnected else {
      record(Failure(.operation, "setSocketDescriptor() called when already connected"))
      return false
    }
    let source = context.loop?.handingOver
    let handover = source?.handover.flatMap {
      $0.connection.descriptor == socketDescriptor && !$0.isPlaceTaken ? $0 : nil
    }
    let knownPeer = handover?.connection.peer ?? SocketAddress.corePeer(of: socketDescriptor)
    if let errnum = whyNotAdoptable(socketDescriptor, peer: knownPeer) {
      record(Failure(CSC_CALL_ADOPT, errno: errnum))
      return false
    }
    resetForConnection()
    descriptor = socketDescriptor
    if handover != nil, let source {
      source.handover?.isPlaceTaken = true
      if let proxied = unsafe handover?.connection.proxied { keep(ProxiedConnection(proxied)) }
      acquirePermit(of: source)
      if let place = handover?.connection.source, place != 0 { origin.source = place }
    } else {
      SystemCalls.keepUrgentBytesInLine(socketDescriptor)
    }
    if let knownPeer {
      peer = knownPeer
    }
    currentState = .connected
    if flags.contains(.counted), context.connectionRules != nil { beginPolicy() }
    watchLater()
    updateReadWatch()
    return true
  }

  /// Gives the connection away: the caller owns the descriptor from now on, and the socket is unconnected.
  ///
  /// No signal is emitted. The descriptor stays non-blocking and close-on-exec.
  ///
  /// - Returns: the descriptor; -1 when the socket is not connected, is encrypted, or holds bytes that would be lost with
  ///   it: read those first, or wait until ``bytesToWrite`` is 0.
  public func detach() -> CInt {
    requireLoopThread("TCPSocket.detach()")
    return detach(stayingCounted: false)
  }

  /// Takes the permit out of the socket: its connection counts among those of its server until the permit is released,
  /// and no longer until the socket ends.
  ///
  /// For a connection that is given away:
  ///
  /// ```swift
  /// let permit = socket.takePermit()
  /// let descriptor = socket.detach()
  /// ```
  ///
  /// - Returns: nil when the connection does not count, its permit was taken before, or its server has no event base or
  ///   is no more.
  public func takePermit() -> ConnectionPermit? {
    requireLoopThread("TCPSocket.takePermit()")
    guard flags.contains(.counted), let server = context.remoteServerHandle else { return nil }
    flags.remove(.counted)
    return ConnectionPermit(server, source: takeSource())
  }

  /// The server of `context` counts this socket from now on.
  func acquirePermit(of context: SocketContext) {
    // The socket's own confinement stays the one that its context keeps.
    let next =
      context.confinement === confinement
      ? context : SocketContext(in: self.context, server: context.server, confinement: confinement)
    if self.context !== next, self.context.hasHadRules {
      leavePolicy()
      existingDetails?.origin?.isPastMaximumAge = false
    }
    self.context = next
    flags.insert(.counted)
    context.noteBeginning(of: descriptor)
  }

  /// - Parameter stayingCounted: the new owner of the descriptor reports its end, where it was counted.
  func detach(stayingCounted: Bool) -> CInt {
    guard currentState == .connected else {
      record(Failure(.unknown, "Socket is not connected"))
      return -1
    }
    guard bytesHeld == 0, held + bytesInPipe == 0 else {
      record(Failure(.operation, "detach() called with unread or unsent bytes"))
      return -1
    }
    guard transportSlot == nil else {
      record(Failure(.operation, "detach() called on an encrypted connection"))
      return -1
    }
    stopWatching()
    if context.hasHadRules { leavePolicy() }
    let detached = descriptor
    descriptor = -1
    if stayingCounted {
      flags.remove(.counted)
    } else {
      releasePermit()
    }
    currentState = .unconnected
    wakeEverybody()
    if flags.contains(.accepted) {
      releaseHandlers()
    }
    return detached
  }

  /// This side's address; ``HostAddress/null`` when the socket has no descriptor.
  public var localAddress: HostAddress {
    requireLoopThread("TCPSocket.localAddress")
    return SocketAddress.local(of: descriptor)?.host ?? .null
  }

  /// This side's port; 0 when the socket has no descriptor.
  public var localPort: UInt16 {
    requireLoopThread("TCPSocket.localPort")
    return SocketAddress.local(of: descriptor)?.port ?? 0
  }

  /// Sets an option of the connection.
  ///
  /// - Returns: false when the socket is not connected or the kernel refuses the value.
  @discardableResult
  public func setSocketOption(_ option: SocketOption, _ value: Int) -> Bool {
    requireLoopThread("TCPSocket.setSocketOption(_:_:)")
    return option.set(value, for: descriptor)
  }

  /// The value of an option; nil when the socket is not connected or the kernel does not say.
  public func socketOption(_ option: SocketOption) -> Int? {
    requireLoopThread("TCPSocket.socketOption(_:)")
    return option.value(for: descriptor)
  }

  /// The errno for what is wrong with a descriptor; nil when it can be taken, and then it is ready.
  private func whyNotAdoptable(_ candidate: CInt, peer: csc_address?) -> CInt? {
    guard SystemCalls.isOpen(candidate) else { return EBADF }
    guard let type = SystemCalls.option(candidate, SOL_SOCKET, SO_TYPE) else { return errno }
    guard type == CInt(SOCK_STREAM.rawValue) else { return EPROTOTYPE }
    guard let domain = SystemCalls.option(candidate, SOL_SOCKET, SO_DOMAIN) else { return errno }
    guard domain == AF_INET || domain == AF_INET6 || domain == AF_UNIX else { return EAFNOSUPPORT }
    guard SystemCalls.option(candidate, SOL_SOCKET, SO_ACCEPTCONN) == 0 else { return ENOTCONN }
    // A reset connection has no peer any more, but a read distinguishes it from one that never was connected.
    // A UNIX socket keeps its peer.
    if peer == nil {
      if domain == AF_UNIX { return ENOTCONN }
      if case .failed(ENOTCONN) = SystemCalls.peekInput(candidate) { return ENOTCONN }
    }
    return SystemCalls.prepareAdopted(candidate) ? nil : EPERM
  }
}
