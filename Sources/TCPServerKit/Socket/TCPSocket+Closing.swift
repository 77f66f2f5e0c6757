/// Ways for a connection to end.
extension TCPSocket {
  /// How long the peer of a closed connection may go on sending before it is cut off, and how long be silent.
  private static let lingerLimit: Duration = .seconds(30)
  static let lingerSilenceLimit: Duration = .seconds(5)

  /// Disconnects in order: everything written is delivered, then the connection ends.
  ///
  /// With nothing left to send the socket is unconnected, and ``disconnected`` emitted, when this returns;
  /// otherwise it is ``SocketState/closing`` until then. When the peer is still sending, what it sends is
  /// thrown away for up to 30 seconds, because closing at once would make the kernel reset the connection
  /// and destroy what the peer has not read yet.
  ///
  /// A connection that is still being made is given up.
  public func disconnectFromHost() {
    switch state {
    case .connected:
      state = .closing
      wakeReader(.ready)
      updateReadWatch()
      finishClosingIfSent()
    case .hostLookup, .connecting:
      becomeUnconnected()
    default:
      break
    }
  }

  /// Gives up what was not read, then disconnects as ``disconnectFromHost()`` does.
  public func close() {
    dropInput()
    flags.insert(.readClosed)
    disconnectFromHost()
  }

  /// Ends the connection now. What the kernel has not taken yet is lost.
  public func abort() {
    dropInput()
    flags.insert(.readClosed)
    becomeUnconnected()
  }

  // MARK: -

  func finishClosingIfSent() {
    guard isClosingWithAllSent else { return }
    // Told before the socket says that it has disconnected. A handler may write still more.
    announceWritten()
    guard isClosingWithAllSent else { return }
    switch SystemCalls.discardInput(descriptor, atMost: 1 << 30) {
    case .value(let count) where count > 0 && !flags.contains(.writeBroken):
      startLingering()
    default:
      becomeUnconnected()
    }
  }

  private var isClosingWithAllSent: Bool {
    state == .closing && output == nil && !flags.contains(.lingering)
  }

  private func startLingering() {
    SystemCalls.endWriting(descriptor)
    flags.insert(.lingering)
    details.lingerEnd = .now + Self.lingerLimit
    updateReadWatch()
  }

  /// Throws away what has come since; ends the connection when the peer has ended its side, or was too slow.
  func continueLingering(timedOut: Bool = false) {
    let outcome = SystemCalls.discardInput(descriptor, atMost: 1 << 30)
    if case .value(let count) = outcome, count > 0, !timedOut, !isPastLingerEnd {
      return
    }
    if outcome.wouldBlock, !timedOut, !isPastLingerEnd {
      return
    }
    becomeUnconnected()
  }

  private var isPastLingerEnd: Bool {
    existingDetails?.lingerEnd.map { $0 <= .now } ?? true
  }

  func becomeUnconnected() {
    guard state != .unconnected else { return }
    let wasConnected = state == .connected || state == .closing
    stopWatching()
    keepLentBytes()
    if descriptor >= 0 {
      closeDescriptor()
    }
    output = nil
    // Nobody is told after the end, who may be gone then.
    unannounced = 0
    flags.remove(.lingering)
    state = .unconnected
    existingDetails?.attempt = nil
    wakeEverybody()
    if wasConnected {
      flags.insert(.hasEnded)
      existingDetails?.disconnected?.notify()
    }
    if flags.contains(.accepted) && state == .unconnected {
      releaseHandlers()
    }
  }

  /// The connection broke. Told while the state still says connected, as Qt does.
  func connectionFailed(_ failure: Failure) {
    guard state != .unconnected else { return }
    record(failure)
    flags.formUnion([.broken, .failing])
    existingDetails?.errorOccurred?.notify(failure.error)
    // A handler may have ended the connection itself, and begun another.
    guard flags.contains(.failing) else { return }
    flags.remove(.failing)
    becomeUnconnected()
  }
}

extension Failure {
  static let remoteHostClosed = Failure(.remoteHostClosed, "The remote host closed the connection")
  static let timedOut = Failure(.socketTimeout, "Network operation timed out")
}
