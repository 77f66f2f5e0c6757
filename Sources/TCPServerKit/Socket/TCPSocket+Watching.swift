internal import CLibevent

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Musl
#endif

/// What the loop watches a socket for. Registered as late as can be, and an object kept alive just as long.
extension TCPSocket {
  private var shouldWatchRead: Bool {
    if flags.contains(.lingering) {
      return true
    }
    let wanted = flags.contains(.wantsInput) || waits?.reader.isWaiting ?? false
    return wanted && state == .connected && !flags.contains(.endAnnounced) && roomForInput > 0
  }

  func updateReadWatch() {
    setReadWatch(shouldWatchRead)
  }

  private func setReadWatch(_ wanted: Bool, timeout: Duration? = nil) {
    guard let engine else { return }
    engine.assertOnLoopThread()
    guard wanted != flags.contains(.watchingRead) else { return updateKeptAlive() }
    if wanted {
      if unsafe readWatch == nil {
        unsafe readWatch = event_new(
          engine.base,
          descriptor,
          Int16(CLIBEVENT_READ | CLIBEVENT_PERSIST),
          onReadable,
          asContext
        )
      }
      if unsafe !add(readWatch, timeout: flags.contains(.lingering) ? Self.lingerSilenceLimit : timeout) {
        return watchFailed()
      }
      flags.insert(.watchingRead)
    } else {
      unsafe stop(readWatch)
      flags.subtract([.watchingRead, .readTimed])
    }
    updateKeptAlive()
  }

  /// Watches the descriptor for room to write, or `other` (a name lookup's, a proxy's) for what comes next.
  func watchWrite(_ wanted: Bool, on other: (descriptor: CInt, forWriting: Bool)? = nil) {
    guard let engine, wanted != flags.contains(.watchingWrite) else { return }
    engine.assertOnLoopThread()
    if wanted {
      let events = Int16((other?.forWriting ?? true ? CLIBEVENT_WRITE : CLIBEVENT_READ) | CLIBEVENT_PERSIST)
      if unsafe details.writeWatch == nil {
        unsafe details.writeWatch = event_new(
          engine.base,
          other?.descriptor ?? descriptor,
          events,
          onWritable,
          asContext
        )
      }
      if unsafe !add(details.writeWatch) {
        return watchFailed()
      }
      flags.insert(.watchingWrite)
    } else {
      unsafe stop(details.writeWatch)
      flags.remove(.watchingWrite)
    }
    updateKeptAlive()
  }

  /// Takes the socket off the loop. The events go too: the next connection has another descriptor.
  func stopWatching() {
    freeWatches()
    flags.subtract([.watchingRead, .readTimed, .watchingWrite])
    updateKeptAlive()
  }

  func freeWatches() {
    if let event = unsafe readWatch { unsafe event_free(event) }
    if let event = unsafe existingDetails?.writeWatch { unsafe event_free(event) }
    unsafe readWatch = nil
    unsafe existingDetails?.writeWatch = nil
  }

  private var asContext: UnsafeMutableRawPointer {
    unsafe Unmanaged.passUnretained(self).toOpaque()
  }

  /// Watches for a task that is about to wait; at most `timeout`.
  func watchRead(for timeout: Duration?) {
    if !flags.contains(.watchingRead) {
      setReadWatch(true, timeout: timeout)
    } else if timeout != nil || flags.contains(.readTimed) {
      unsafe setTimeout(timeout, of: readWatch)
    }
    if timeout != nil {
      flags.insert(.readTimed)
    } else {
      flags.remove(.readTimed)
    }
  }

  /// Watches for room to write, for a task that is about to wait. The timeout is the longest silence of the peer: one
  /// that takes bytes, however slowly, does not run into it.
  func watchWrite(for timeout: Duration?) {
    watchWrite(true)
    guard let timeout else {
      waits?.existingSettings?.writeSilence = nil
      return unsafe setTimeout(nil, of: details.writeWatch)
    }
    let silence = PeerSilence(of: descriptor, limit: timeout)
    existingWaits.settings.writeSilence = silence
    unsafe setTimeout(silence.nextLook, of: details.writeWatch)
  }

  /// The time of a waiting write is over, unless the peer has acknowledged bytes meanwhile: the kernel reports room
  /// only when a third of its buffer is free, which a slow peer may need minutes for.
  func writeTimedOut() {
    guard let settings = waits?.existingSettings, var silence = settings.writeSilence else {
      return wakeWriter(.timedOut)
    }
    let isOver = silence.isOver(descriptor)
    settings.writeSilence = silence
    if isOver {
      wakeWriter(.timedOut)
    } else {
      unsafe setTimeout(silence.nextLook, of: details.writeWatch)
    }
  }

  /// Its timeout first: libevent remembers that of a persistent event, and would set it again when it next fires.
  private func stop(_ event: OpaquePointer?) {
    if let event = unsafe event {
      unsafe event_remove_timer(event)
      unsafe event_del(event)
    }
  }

  private func setTimeout(_ timeout: Duration?, of event: OpaquePointer?) {
    if timeout == nil, let event = unsafe event {
      unsafe event_remove_timer(event)
    } else {
      unsafe _ = add(event, timeout: timeout)
    }
  }

  private func add(_ event: OpaquePointer?, timeout: Duration? = nil) -> Bool {
    guard let event = unsafe event, let engine else { return false }
    return unsafe engine.add(event, timeout: timeout)
  }

  /// The loop cannot watch this socket, so it would wait for ever: the connection ends with an error.
  private func watchFailed() {
    let failure = Failure(.socketResource, "Out of resources")
    engine?.later { [self] in connectionFailed(failure) }
  }

  /// A watch for a task keeps nothing alive: who waits holds the socket, and when that one has gone, with the
  /// watch still there, nobody else would ever close the connection.
  private func updateKeptAlive() {
    let readsForItself = !flags.isDisjoint(with: [.wantsInput, .lingering])
    let wanted = flags.contains(.watchingWrite) || flags.contains(.watchingRead) && readsForItself
    guard wanted != flags.contains(.keptAlive) else { return }
    if wanted {
      flags.insert(.keptAlive)
      unsafe _ = Unmanaged.passRetained(self)
    } else {
      flags.remove(.keptAlive)
      unsafe Unmanaged.passUnretained(self).release()
    }
  }

  /// Aborts every socket that an event of `base` keeps alive.
  static func abortAll(on base: OpaquePointer) {
    for socket in unsafe watched(on: base) {
      socket.abort()
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

private func socket(_ context: UnsafeMutableRawPointer?) -> TCPSocket? {
  unsafe context.map { unsafe Unmanaged<TCPSocket>.fromOpaque($0).takeUnretainedValue() }
}

private func onReadable(_: CInt, events: Int16, context: UnsafeMutableRawPointer?) {
  unsafe socket(context)?.handleReadable(timedOut: Int(events) & CLIBEVENT_TIMEOUT != 0)
}

private func onWritable(_: CInt, events: Int16, context: UnsafeMutableRawPointer?) {
  unsafe socket(context)?.handleWritable(timedOut: Int(events) & CLIBEVENT_TIMEOUT != 0)
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
    let socket = unsafe socket(event_get_callback_arg(event))
  {
    unsafe list.pointee.append(socket)
  }
  return 0
}
