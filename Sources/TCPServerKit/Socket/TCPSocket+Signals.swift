// SPDX-License-Identifier: Apache-2.0

/// A signal of a socket that input can raise: the loop watches the socket for it once a handler is connected.
final class InputSignal<Argument>: Signal<Argument>, @unchecked Sendable {
  /// Until the socket ends.
  fileprivate unowned(unsafe) var socket: TCPSocket?

  init(of socket: TCPSocket, first: ((Argument) -> Void)? = nil) {
    unsafe self.socket = socket
    super.init(on: socket.confinement, first: first)
  }

  override func didConnect() {
    unsafe socket?.wantInput()
  }

  fileprivate func forgetSocket() {
    unsafe socket = nil
  }
}

/// The signals. Each exists from its first use, and the loop watches a socket for input from the first handler of one
/// that input can raise: an accepted connection without handlers costs nothing. Those that every program connects exist
/// only where they have to: see LoneSignal.swift.
extension TCPSocket {
  private func made<Argument>(
    _ existing: Signal<Argument>?,
    keep: (Signal<Argument>) -> Void
  ) -> Signal<Argument> {
    if let existing {
      return existing
    }
    let signal = Signal<Argument>(on: confinement)
    keep(signal)
    return signal
  }

  private func made<Argument>(
    _ existing: InputSignal<Argument>?,
    keep: (InputSignal<Argument>) -> Void
  ) -> Signal<Argument> {
    if let existing {
      return existing
    }
    let signal = InputSignal<Argument>(of: self)
    keep(signal)
    return signal
  }

  func wantInput() {
    guard !flags.contains(.wantsInput) else { return }
    flags.insert(.wantsInput)
    // A task that waits for input learns that it is no longer the one who reads.
    wakeReader(.ready)
    updateReadWatch()
  }

  /// The program has disconnected the handlers that reading was for: from now on tasks may read.
  ///
  /// - Returns: false where there is such a handler, or its call is not over.
  func leaveInputToTasks() -> Bool {
    guard readyReadHandler == nil, disconnectedHandler == nil, !flags.contains(.inReadyRead) else {
      return false
    }
    if let details = existingDetails {
      let signals: [Signal<Void>?] = [details.readyRead, details.readChannelFinished, details.disconnected]
      let hasHandlers =
        signals.contains { $0?.hasHandlers ?? false } || details.stateChanged?.hasHandlers ?? false
        || details.errorOccurred?.hasHandlers ?? false
      if hasHandlers { return false }
    }
    flags.remove(.wantsInput)
    updateReadWatch()
    return true
  }

  /// The socket ends: its signals may be kept longer.
  func forgetSignals() {
    guard let details = existingDetails else { return }
    details.readyRead?.forgetSocket()
    details.readChannelFinished?.forgetSocket()
    details.disconnected?.forgetSocket()
    details.stateChanged?.forgetSocket()
    details.errorOccurred?.forgetSocket()
  }

  /// Emitted when ``connectToHost(_:port:)-(HostAddress,_)`` has succeeded. Never by an accepted connection.
  public var connected: Signal<Void> {
    requireLoopThread("TCPSocket.connected")
    return made(details.connected) { details.connected = $0 }
  }

  /// Emitted when the state has changed, with the present one, before ``connected`` and ``disconnected``.
  public var stateChanged: Signal<SocketState> {
    requireLoopThread("TCPSocket.stateChanged")
    return made(details.stateChanged) { details.stateChanged = $0 }
  }

  /// Emitted when new data has arrived.
  ///
  /// Once for each arrival: not again for data left unread, not for the end of input, and not while its own
  /// handlers run.
  public var readyRead: Signal<Void> {
    requireLoopThread("TCPSocket.readyRead")
    return existingDetails?.readyRead ?? loneSignal(.readyRead)
  }

  /// Emitted when bytes have gone to the kernel, with their number. Not while its own handlers run, and not after
  /// ``disconnected``.
  public var bytesWritten: Signal<Int> {
    requireLoopThread("TCPSocket.bytesWritten")
    return made(details.bytesWritten) { details.bytesWritten = $0 }
  }

  /// Emitted when the peer has ended its side, after ``errorOccurred``.
  ///
  /// Connecting a handler means that the program handles half-closed connections: the socket stays connected
  /// for writing until it is closed.
  public var readChannelFinished: Signal<Void> {
    requireLoopThread("TCPSocket.readChannelFinished")
    return made(details.readChannelFinished) { details.readChannelFinished = $0 }
  }

  /// Emitted when the connection has ended, from whichever side.
  public var disconnected: Signal<Void> {
    requireLoopThread("TCPSocket.disconnected")
    return existingDetails?.disconnected ?? loneSignal(.disconnected)
  }

  /// Emitted when an error has occurred, before the state changes for it.
  public var errorOccurred: Signal<SocketError> {
    requireLoopThread("TCPSocket.errorOccurred")
    return made(details.errorOccurred) { details.errorOccurred = $0 }
  }
}
