/// The signals. Each exists from its first use, and the loop watches a socket for input from the first use of
/// one that input can raise: an accepted connection nobody listens to costs nothing.
extension TCPSocket {
  private func made<Argument>(
    _ existing: Signal<Argument>?,
    keep: (Signal<Argument>) -> Void
  ) -> Signal<Argument> {
    if let existing {
      return existing
    }
    let signal = Signal<Argument>(on: engine)
    keep(signal)
    return signal
  }

  private func wantInput() {
    guard !flags.contains(.wantsInput) else { return }
    flags.insert(.wantsInput)
    // A task that waits for input is told that it is no longer the one who reads.
    wakeReader(.ready)
    updateReadWatch()
  }

  /// Emitted when ``connectToHost(_:port:)-(HostAddress,_)`` has succeeded. Never by an accepted connection.
  public var connected: Signal<Void> {
    made(details.connected) { details.connected = $0 }
  }

  /// Emitted when the state has changed, with the present one, before ``connected`` and ``disconnected``.
  public var stateChanged: Signal<SocketState> {
    wantInput()
    return made(details.stateChanged) { details.stateChanged = $0 }
  }

  /// Where the socket is in no middle of a change: a handler may call anything.
  func announceState() {
    existingDetails?.stateChanged?.notify(currentState)
  }

  /// Emitted when new data has arrived.
  ///
  /// Once for each arrival: not again for data left unread, not for the end of input, and not while its own
  /// handlers run.
  public var readyRead: Signal<Void> {
    wantInput()
    return made(existingReadyRead) { existingReadyRead = $0 }
  }

  /// Emitted when bytes have gone to the kernel, with their number. Not while its own handlers run, and not after
  /// ``disconnected``.
  public var bytesWritten: Signal<Int> {
    made(details.bytesWritten) { details.bytesWritten = $0 }
  }

  /// Emitted when the peer has ended its side, after ``errorOccurred``.
  ///
  /// Connecting a handler means that the program handles half-closed connections: the socket stays connected
  /// for writing until it is closed.
  public var readChannelFinished: Signal<Void> {
    wantInput()
    return made(details.readChannelFinished) { details.readChannelFinished = $0 }
  }

  /// Emitted when the connection has ended, from whichever side.
  public var disconnected: Signal<Void> {
    wantInput()
    return made(details.disconnected) { details.disconnected = $0 }
  }

  /// Emitted when an error has occurred, before the state changes for it.
  public var errorOccurred: Signal<SocketError> {
    wantInput()
    return made(details.errorOccurred) { details.errorOccurred = $0 }
  }
}
