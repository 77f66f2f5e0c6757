// SPDX-License-Identifier: Apache-2.0

internal import CLibevent
internal import Glibc

/// What the loop watches a socket for. Registered as late as can be, and an object kept alive just as long.
///
/// A connected socket is always watched: for input as long as there is room for it and a program that reads; otherwise
/// edge-triggered, for the end alone. Neither costs anything while the connection is idle.
extension TCPSocket {
  private enum Watch {
    case nothing
    case input
    /// The peer's end, with input that is left in the kernel.
    case end
    /// The same once, while there is a watch for room to write: libevent refuses an edge-triggered event beside another.
    case endWhileWriting
  }

  /// How many bytes are read ahead for tasks that are not reading.
  private static let readAheadLimit = 16384

  private var wantedWatch: Watch {
    if flags.contains(.lingering) {
      return flags.contains(.inputEnded) ? end : .input
    }
    guard currentState == .connected else { return .nothing }
    if let slot = transportSlot, slot.holdsReader {
      if slot.state == .handshaking(.answer) { return end }
      return slot.state == .handshaking(.input) ? .input : .nothing
    }
    if flags.contains(.wantsInput) {
      return !flags.contains(.endAnnounced) && roomForInput > 0 ? .input : end
    }
    if withExistingWaiters({ $0.reader.isWaiting }) ?? false { return .input }
    guard flags.contains(.watched) else { return .nothing }
    let hasRoom = bytesAvailable < Self.readAheadLimit && roomForInput > 0
    return flags.contains(.readsAhead) && hasRoom && !flags.contains(.inputEnded) ? .input : end
  }

  private var end: Watch {
    guard context.hasEdges else { return .nothing }
    guard flags.contains(.watchingWrite) else { return .end }
    // A write watch notices a reset as well.
    return awaitsEnd ? .endWhileWriting : .nothing
  }

  private var awaitsEnd: Bool {
    guard let settings = existingWaiters?.existingSettings, !settings.end.isEmpty else { return false }
    return !flags.contains(.peerEnded)
  }

  /// Whether a watch for input says, too, that the peer has ended its side.
  var loopSeesEnds: Bool {
    context.hasEdges
  }

  private var presentWatch: Watch {
    if flags.contains(.watchingEnd) { return flags.contains(.hasEdgeEvent) ? .end : .endWhileWriting }
    return flags.contains(.watchingRead) ? .input : .nothing
  }

  func updateReadWatch() {
    if !isWatchedForHandlers { setReadWatch(wantedWatch) }
  }

  /// What most connections are while handlers read from them: nothing is to be changed.
  private var isWatchedForHandlers: Bool {
    existingDetails == nil && transportSlot == nil && currentState == .connected
      && flags.contains([.wantsInput, .watchingRead, .keptAlive])
      && flags.isDisjoint(with: [.endAnnounced, .lingering])
  }

  /// The program does something with the connection: from the end of the turn on it is watched for its end.
  @inline(__always) func noteUse() {
    if flags.isDisjoint(with: [.watched, .unwatched]) && currentState == .connected { watchLater() }
  }

  /// A connection that its program neither reads nor listens to is watched for its end all the same, from the end of
  /// the turn on: one that is read or closed within the turn, as nearly all are, needs no call of its own.
  func watchLater() {
    guard let engine, let loop = context.loop, !flags.contains(.unwatched) else { return }
    // A connection may become a socket on another thread than its loop's.
    guard mayTouch else { return engine.post(.closure { self.watchUnlessWatched() }) }
    flags.insert(.unwatched)
    loop.watchLater(self)
  }

  func watchUnlessWatched() {
    flags.remove(.unwatched)
    guard currentState == .connected, !flags.contains(.watched) else { return }
    flags.insert(.watched)
    updateReadWatch()
  }

  private func setReadWatch(_ wanted: Watch, timeout: Int64? = nil) {
    guard let base = unsafe context.base else { return }
    if wanted == .input, let slot = transportSlot { comeBackForInput(slot) }
    guard wanted != presentWatch else { return updateKeptAlive() }
    if presentWatch != .nothing {
      unsafe stop(readWatch)
      if presentWatch == .endWhileWriting { freeReadWatch() }
      flags.subtract([.watchingRead, .watchingEnd, .readTimed])
    }
    if wanted != .nothing {
      flags.insert(.watched)
      if unsafe !add(readEvent(for: wanted, base), timeout: timeout) {
        return watchFailed()
      }
      flags.insert(wanted == .input ? .watchingRead : .watchingEnd)
    }
    updateKeptAlive()
  }

  /// The event for a kind of watch: one at a time, because few sockets ever need the second.
  private func readEvent(for watch: Watch, _ base: OpaquePointer) -> OpaquePointer? {
    if let event = unsafe readWatch {
      if watch != .endWhileWriting && (watch == .end) == flags.contains(.hasEdgeEvent) { return unsafe event }
      freeReadWatch()
    }
    let closed = loopSeesEnds ? CLIBEVENT_CLOSED : 0
    let edges = watch == .end ? CLIBEVENT_EDGE_TRIGGERED : 0
    let input = watch == .endWhileWriting ? 0 : CLIBEVENT_READ
    let events = CLIBEVENT_PERSIST | input | closed | edges
    if watch == .end {
      flags.insert(.hasEdgeEvent)
    } else {
      flags.remove(.hasEdgeEvent)
    }
    unsafe readWatch = event_new(base, descriptor, Int16(events), onReadable, asContext)
    return unsafe readWatch
  }

  /// Watches for room to write. While there is no descriptor, that is no more than a timer.
  func watchWrite(_ wanted: Bool) {
    guard let engine, wanted != flags.contains(.watchingWrite) else { return }
    // What is held is sent when the handshake is complete.
    if wanted, let slot = transportSlot, slot.isHandshaking,
      slot.state != .handshaking(.room)
    {
      return
    }
    if wanted {
      if flags.contains(.watchingEnd) { setReadWatch(.nothing) }
      let events = Int16(CLIBEVENT_WRITE | CLIBEVENT_PERSIST)
      if unsafe details.writeWatch == nil {
        unsafe details.writeWatch = event_new(engine.base, descriptor, events, onWritable, asContext)
      }
      if unsafe !add(details.writeWatch) {
        return watchFailed()
      }
      flags.insert(.watchingWrite)
      if awaitsEnd { updateReadWatch() }
      updateKeptAlive()
    } else {
      unsafe stop(details.writeWatch)
      flags.remove(.watchingWrite)
      updateReadWatch()
    }
  }

  /// Takes the socket off the loop. The events go too: the next connection has another descriptor.
  func stopWatching() {
    freeWatches()
    flags.subtract([.watched, .watchingRead, .watchingEnd, .readTimed, .watchingWrite])
    updateKeptAlive()
  }

  func freeWatches() {
    freeReadWatch()
    if let event = unsafe existingDetails?.writeWatch { unsafe event_free(event) }
    unsafe existingDetails?.writeWatch = nil
  }

  private func freeReadWatch() {
    if let event = unsafe readWatch { unsafe event_free(event) }
    unsafe readWatch = nil
  }

  private var asContext: UnsafeMutableRawPointer {
    unsafe Unmanaged.passUnretained(self).toOpaque()
  }

  // MARK: - Timeouts

  /// Watches for a task that is about to wait; at most `timeout`.
  func watchRead(for timeout: Duration?) {
    let nanoseconds = timeout?.nanoseconds
    if engine?.isAbandoned == true { return watchFailed() }
    flags.insert(.readsAhead)
    if let slot = transportSlot {
      slot.exceptions?.readTimer = nil
      if slot.holdsReader { return waitForTransport(slot, timeout) }
      comeBackForInput(slot)
    }
    if !flags.contains(.watchingRead) {
      setReadWatch(.input, timeout: nanoseconds)
    } else if timeout != nil || flags.contains(.readTimed) {
      unsafe setTimeout(nanoseconds, of: readWatch)
    }
    if timeout != nil {
      flags.insert(.readTimed)
    } else {
      flags.remove(.readTimed)
    }
  }

  /// A task is about to wait for input while the descriptor is watched for something else.
  private func waitForTransport(_ slot: TransportSlot, _ timeout: Duration?) {
    guard let engine else { return }
    let wait = waiters.reader.wait
    slot.setReadTimer(
      timeout.map {
        // Of this wait alone: a later one may have none.
        LoopTimer(engine, after: $0) { [weak self] in
          if self?.existingWaiters?.reader.wait == wait { self?.wakeReader(.timedOut) }
        }
      }
    )
    updateReadWatch()
  }

  /// The time of a read is over that has begun to wait before a handshake has.
  func readTimedOutDuringHandshake() {
    unsafe setTimeout(nil, of: readWatch)
    flags.remove(.readTimed)
    wakeReader(.timedOut)
  }

  /// Watches for room to write, for a task that is about to wait. The timeout is the longest time in which the
  /// peer acknowledges no byte.
  func watchWrite(for timeout: Duration?) {
    if engine?.isAbandoned == true { return watchFailed() }
    watchWrite(true)
    if timeout != nil || existingWaiters?.existingSettings?.writeSilence != nil {
      waiters.settings.writeSilence = timeout.map { PeerSilence(of: descriptor, limit: $0) }
    }
    armWriteTimer()
  }

  /// The time of a waiting write, or of a closing connection, is over, unless the peer has acknowledged bytes
  /// meanwhile: the kernel reports room only when a third of its buffer is free, which a slow peer may need minutes for.
  func writeTimedOut() {
    lookAtClosing()
    guard currentState != .unconnected else { return }
    if let settings = existingWaiters?.existingSettings, var silence = settings.writeSilence {
      let isOver = silence.isOver(descriptor)
      settings.writeSilence = isOver ? nil : silence
      if isOver { wakeWriter(.timedOut) }
    }
    armWriteTimer()
  }

  func armWriteTimer() {
    guard flags.contains(.watchingWrite), let event = unsafe existingDetails?.writeWatch else { return }
    let looks = [existingWaiters?.existingSettings?.writeSilence?.nextLook, nextLook]
    unsafe setTimeout(looks.compactMap(\.self).min(), of: event)
  }

  /// Watches for the peer's end.
  func watchLingering() {
    let wanted = wantedWatch
    let isWatched = wanted == presentWatch
    setReadWatch(wanted, timeout: nextLook)
    if isWatched { armLingering() }
  }

  func armLingering() {
    guard !flags.isDisjoint(with: [.watchingRead, .watchingEnd]) else { return }
    unsafe setTimeout(nextLook, of: readWatch)
  }

  /// Its timeout first: libevent remembers that of a persistent event, and would set it again when it next fires.
  private func stop(_ event: OpaquePointer?) {
    if let event = unsafe event {
      unsafe event_remove_timer(event)
      unsafe event_del(event)
    }
  }

  private func setTimeout(_ timeout: Int64?, of event: OpaquePointer?) {
    if timeout == nil, let event = unsafe event {
      unsafe event_remove_timer(event)
    } else {
      unsafe _ = add(event, timeout: timeout)
    }
  }

  private func add(_ event: OpaquePointer?, timeout: Int64? = nil) -> Bool {
    guard let event = unsafe event else { return false }
    guard let timeout else { return unsafe event_add(event, nil) == 0 }
    return unsafe engine?.add(event, nanoseconds: timeout) ?? false
  }

  /// The loop cannot watch this socket, so it would wait for ever: the connection ends with an error.
  private func watchFailed() {
    engine?.enqueue { [self] in connectionFailed(.outOfResources, resetting: true) }
  }

  // MARK: - Lifetime

  /// A watch for a task keeps nothing alive: who waits holds the socket, and when that one has gone, with the
  /// watch still there, no code would ever close the connection.
  private func updateKeptAlive() {
    let readsForItself = !flags.isDisjoint(with: [.wantsInput, .lingering])
    let isWatched =
      flags.contains(.watchingRead) || flags.contains(.lingering) && flags.contains(.watchingEnd)
    let isNeeded = flags.contains(.watchingWrite) || isWatched && readsForItself
    let wanted = isNeeded && engine?.isAbandoned == false
    guard wanted != flags.contains(.keptAlive) else { return }
    if wanted {
      flags.insert(.keptAlive)
      unsafe _ = Unmanaged.passRetained(self)
    } else {
      flags.remove(.keptAlive)
      unsafe Unmanaged.passUnretained(self).release()
    }
  }

  /// The sockets that `base` watches; one may occur twice.
  static func watched(on base: OpaquePointer) -> [TCPSocket] {
    var sockets: [TCPSocket] = []
    unsafe withUnsafeMutablePointer(to: &sockets) { sockets in
      unsafe _ = event_base_foreach_event(base, collectSocket, sockets)
    }
    return sockets
  }
}

extension TCPSocket {
  /// The socket at an address that the loop keeps: of an event, or of a list of the engine's. Nil when its last reference
  /// is being released on another thread; its memory stays until what is left of it has come to the loop.
  static func alive(_ address: UnsafeMutableRawPointer?) -> TCPSocket? {
    guard let address = unsafe address, let object = unsafe clibevent_try_retain(address) else { return nil }
    return unsafe Unmanaged<TCPSocket>.fromOpaque(object).takeRetainedValue()
  }
}

private func onReadable(_: CInt, events: Int16, context: UnsafeMutableRawPointer?) {
  let events = Int(events)
  unsafe withSocket(at: context) { socket in
    if events & CLIBEVENT_CLOSED != 0 { socket.notePeerEnded() }
    socket.handleReadable(timedOut: events & CLIBEVENT_TIMEOUT != 0)
  }
}

private func onWritable(_: CInt, events: Int16, context: UnsafeMutableRawPointer?) {
  unsafe withSocket(at: context) { $0.handleWritable(timedOut: Int(events) & CLIBEVENT_TIMEOUT != 0) }
}

/// What `TCPSocket.alive(_:)` and `EventEngine.inCallback(_:)` do, with one reference counted for both.
@inline(__always)
private func withSocket(at address: UnsafeMutableRawPointer?, _ body: (TCPSocket) -> Void) {
  guard let address = unsafe address, let object = unsafe clibevent_try_retain(address) else { return }
  let reference = unsafe Unmanaged<TCPSocket>.fromOpaque(object)
  unsafe reference._withUnsafeGuaranteedRef { socket in
    if socket.isOwner {
      body(socket)
    } else {
      socket.engine?.inCallback { body(socket) }
    }
  }
  unsafe reference.release()
}

private func collectSocket(
  _: OpaquePointer?,
  event: OpaquePointer?,
  context: UnsafeMutableRawPointer?
) -> CInt {
  guard let event = unsafe event,
    let list = unsafe context?.assumingMemoryBound(to: [TCPSocket].self),
    let callback = unsafe event_get_callback(event)
  else { return 0 }
  let known: [event_callback_fn] = unsafe [onReadable, onWritable]
  let address = unsafe unsafeBitCast(callback, to: UnsafeRawPointer.self)
  if unsafe known.contains(where: { unsafe unsafeBitCast($0, to: UnsafeRawPointer.self) == address }),
    let socket = unsafe TCPSocket.alive(event_get_callback_arg(event))
  {
    unsafe list.pointee.append(socket)
  }
  return 0
}
