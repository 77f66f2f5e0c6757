// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// What the core of a server reports, on its loop.
extension ServerCore {
  private var asContext: UnsafeMutableRawPointer {
    unsafe Unmanaged.passUnretained(self).toOpaque()
  }

  func listenToCore() {
    unsafe csc_server_on_new_connection(pointer, onNewConnection, asContext)
    unsafe csc_server_on_accept_error(pointer, onAcceptError, asContext)
    unsafe csc_server_on_rejected(pointer, onRejected, asContext)
    unsafe csc_server_on_socket(pointer, onSocket, asContext)
    unsafe csc_server_on_prefaces_over(pointer, onLastPreface, asContext)
  }

  func announceIncoming() {
    unsafe csc_server_on_incoming_connection(pointer, onIncomingConnection, asContext)
  }

  func askForAdmission(_ isAsked: Bool) {
    unsafe csc_server_on_admission(pointer, isAsked ? onAdmission : nil, asContext)
  }

  /// The server is released; its sockets may still count here.
  func serverEnds() {
    unsafe csc_server_close(pointer)
    exchange(&endUndelivered, with: nil)?()
    unsafe csc_server_on_new_connection(pointer, nil, nil)
    unsafe csc_server_on_accept_error(pointer, nil, nil)
    unsafe csc_server_on_incoming_connection(pointer, nil, nil)
    unsafe csc_server_on_admission(pointer, nil, nil)
    unsafe csc_server_on_rejected(pointer, nil, nil)
    unsafe csc_server_on_socket(pointer, nil, nil)
    unsafe csc_server_on_prefaces_over(pointer, nil, nil)
    // Handlers often hold the sockets that they were given, which hold this.
    newConnection.releaseHandlers()
    pendingAvailable?.releaseHandlers()
    acceptError.releaseHandlers()
    connectionRejected.releaseHandlers()
    admissionHandler = nil
    onBroken = nil
    onPrefacesOver = nil
    limiting.share = nil
    acceptWaiters.wakeAll()
    unsafe context?.loop?.forgetOverloaded(self)
    unsafe context?.loop?.forgetAwaited(self)
  }

  fileprivate func announceConnection() {
    guard !deliversLater else { return }
    // An override decides for each connection.
    if !isOverridden { pendingAvailable?.notify() }
    newConnection.notify()
    acceptWaiters.wakeFirst()
  }

  fileprivate func failed(_ error: SocketError) {
    let isListening = unsafe csc_server_is_listening(pointer)
    if isListening {
      unsafe context?.loop?.addOverloaded(self)
    }
    announceError(error, isListening: isListening)
  }

  func announceError(_ error: SocketError, isListening: Bool) {
    if !isListening {
      listenerFailure = error
      acceptWaiters.wakeAll()
      onBroken?(error)
    }
    acceptError.notify(error)
  }

  /// No connection comes any more where the server does not listen.
  func prefacesAreOver() {
    guard undeliveredYet == 0, unsafe csc_server_in_preface(pointer) == 0 else { return }
    acceptWaiters.wakeAll()
    wakeIfAllEnded()
    exchange(&onPrefacesOver, with: nil)?()
  }

  static func of(_ context: UnsafeMutableRawPointer?) -> ServerCore? {
    unsafe context.map { unsafe Unmanaged<ServerCore>.fromOpaque($0).takeUnretainedValue() }
  }
}

private func onNewConnection(_: OpaquePointer, context: UnsafeMutableRawPointer?) {
  guard let context = unsafe context else { return }
  // Held, because a handler may release the server; once, because this is called for every connection.
  let reference = unsafe Unmanaged<ServerCore>.fromOpaque(context).retain()
  unsafe reference._withUnsafeGuaranteedRef { core in
    if core.isOnLoop {
      core.announceConnection()
    } else {
      core.inCallback { core.announceConnection() }
    }
  }
  unsafe reference.release()
}

private func onIncomingConnection(
  _: OpaquePointer,
  connection: UnsafePointer<csc_connection>,
  context: UnsafeMutableRawPointer?
) {
  guard let core = unsafe ServerCore.of(context) else { return }
  let connection = unsafe connection.pointee
  guard let server = core.overrider else {
    // It is being released on another thread.
    SystemCalls.closeDescriptor(connection.descriptor)
    unsafe csc_proxied_free(connection.proxied)
    return core.connectionEnded(from: connection.source)
  }
  core.inCallback { server.takeIncoming(connection) }
}

private func onAcceptError(_: OpaquePointer, error: csc_error, context: UnsafeMutableRawPointer?) {
  guard let core = unsafe ServerCore.of(context) else { return }
  core.inCallback { core.failed(SocketError(error)) }
}

private func onSocket(_: OpaquePointer, descriptor: CInt, context: UnsafeMutableRawPointer?) -> CInt {
  unsafe ServerCore.of(context)?.listener?.prepare(descriptor) ?? 0
}

private func onLastPreface(_: OpaquePointer, context: UnsafeMutableRawPointer?) {
  guard let core = unsafe ServerCore.of(context) else { return }
  core.inCallback { core.prefacesAreOver() }
}

private func onAdmission(
  _: OpaquePointer,
  peer: UnsafePointer<csc_address>,
  context: UnsafeMutableRawPointer?
) -> csc_admission {
  // Held by the call: the handler may set another, or release the server.
  guard let core = unsafe ServerCore.of(context), let ask = core.admissionHandler else { return CSC_ADMIT }
  let peer = unsafe peer.pointee
  return switch core.inCallback({ ask(HostAddress(peer), peer.port) }) {
  case .admit: CSC_ADMIT
  case .close: CSC_CLOSE
  case .reset: CSC_RESET
  }
}

private func onRejected(
  _: OpaquePointer,
  rejection: UnsafePointer<csc_rejection>,
  context: UnsafeMutableRawPointer?
) {
  guard let core = unsafe ServerCore.of(context) else { return }
  core.inCallback { unsafe core.connectionRejected.notify(RejectedConnection(rejection.pointee)) }
}
