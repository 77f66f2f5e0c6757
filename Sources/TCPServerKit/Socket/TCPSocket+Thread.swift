// SPDX-License-Identifier: Apache-2.0

internal import CLibevent

/// How a socket is used from any task and thread: what is on its loop already goes on, what is elsewhere goes there.
extension TCPSocket {
  /// Whether the caller may touch the socket now, and what it suspends for will come: the loop runs on this thread, or
  /// there is none.
  @inline(__always) var isOnLoop: Bool {
    isOwner || isWithoutLoop
  }

  private var isWithoutLoop: Bool {
    !confinement.hasLoop && confinement.claim()
  }

  /// Whether the caller may touch the socket now. While no thread runs the loop, that is the one that has it.
  @inline(__always) var mayTouch: Bool {
    isOwner || confinement.claim()
  }

  /// Stops the program when the caller may not touch the socket.
  @inline(__always) func requireLoopThread(_ call: StaticString) {
    if !isOwner { confinement.requireClaim(call) }
  }

  /// Runs `operation` as a part of the calling task on the loop, and comes back.
  func onLoop<Result>(_ operation: (TCPSocket) async throws -> Result) async rethrows -> Result {
    guard let engine = confinement as? EventEngine else {
      requireLoopThread("An async call of a TCPSocket without an EventBase")
      return try await operation(self)
    }
    return try await engine.run { try await operation(self) }
  }

  /// From another thread: has the loop carry out an order soon, after those that this thread gave before.
  @inline(never) func post(_ call: StaticString, _ order: @escaping @Sendable (TCPSocket) -> Void) {
    guard let engine = confinement as? EventEngine else { return requireLoopThread(call) }
    engine.post(.closure { order(self) })
  }

  // MARK: - The last reference was released elsewhere

  /// What the loop has to end when a socket is released on another thread.
  @safe private struct Remains {
    let context: Unmanaged<SocketContext>
    let descriptor: CInt
    let isCounted: Bool
    let source: UInt32
    let events: [OpaquePointer]
    let memory: UnsafeMutableRawPointer
    let isIncomplete: Bool
    /// Of an encrypted connection; its timers are the loop's to end.
    let slot: TransportSlot?
    /// What they capture is released on the loop, too.
    let handlers: [(() -> Void)?]

    func end() {
      let context = unsafe context.takeRetainedValue()
      unsafe events.forEach { unsafe event_free($0) }
      unsafe context.loop?.readBuffer.forget(memory)
      if context.hasHadRules { unsafe context.loop?.deadlines.forget(descriptor, memory) }
      if isIncomplete {
        if isCounted { context.noteUndelivered() }
        SystemCalls.resetOnClose(descriptor)
      } else if descriptor >= 0, let slot, slot.state == .ready {
        _ = slot.transport.endWriting()
      }
      if let slot { endTransport(slot, context) }
      if isCounted { context.noteEnd(of: descriptor, isDelivered: !isIncomplete) }
      if descriptor >= 0 { SystemCalls.closeDescriptor(descriptor) }
      if isCounted { context.connectionEnded(from: source) }
      if descriptor >= 0, let loop = context.loop, loop.hasOverloadedServers {
        loop.descriptorFreed()
      }
      unsafe clibevent_free_memory(memory)
    }

    private func endTransport(_ slot: TransportSlot, _ context: SocketContext) {
      slot.stopTimers()
      context.loop?.idleTransports.remove(slot)
      if descriptor >= 0 { slot.transport.connectionEnded() }
    }
  }

  /// Hands over what only the loop may end.
  func leaveToLoop() {
    guard let engine = confinement as? EventEngine else { return releaseResources() }
    // The loop may hold the address in an event, until it frees that.
    let memory = unsafe Unmanaged.passUnretained(self).toOpaque()
    unsafe _ = clibevent_keep_memory(memory)
    let events = unsafe [readWatch, existingDetails?.writeWatch].compactMap { unsafe $0 }
    nonisolated(unsafe) let remains = unsafe Remains(
      context: .passRetained(context),
      descriptor: descriptor,
      isCounted: flags.contains(.counted),
      source: takeSource(),
      events: events,
      memory: memory,
      isIncomplete: descriptor >= 0 && output != nil,
      slot: transportSlot,
      handlers: [exchange(&readyReadHandler, with: nil), exchange(&disconnectedHandler, with: nil)]
    )
    // The last reference to a server's core, which is the loop's to end, may be the one of `context`.
    context = SocketContext(in: nil)
    engine.post(.local { unsafe remains.end() })
  }
}
