// SPDX-License-Identifier: Apache-2.0

/// Something that happens on an object, to which any number of handlers can be connected.
///
/// Handlers run synchronously, in the order in which they were connected, on the thread of the object that
/// emits. A handler may connect and disconnect handlers, its own included, and may close or release anything:
/// a handler disconnected during an emission is not called by it any more, one connected during an emission
/// is called by the next.
///
/// ## Thread
///
/// A signal belongs to the thread of its event base: every member stops the program on another one. Passing the
/// reference on is safe. Without an event base it belongs to the thread that uses it first.
///
/// `@unchecked Sendable` because of this invariant: everything that changes is touched by the thread that
/// `confinement` allows alone.
public class Signal<Argument>: @unchecked Sendable {
  private struct Slot {
    var id: UInt64
    var handler: (Argument) -> Void
  }

  /// Handlers beside the first. Only read or replaced whole: a handler may change them. In memory of its own, which
  /// keeps a signal with one handler within 56 bytes.
  private final class Further {
    let firstID: UInt64
    let slots: [Slot]

    init(firstID: UInt64, slots: [Slot]) {
      self.firstID = firstID
      self.slots = slots
    }
  }

  private let confinement: ThreadConfinement
  // Nearly always there is one handler. Kept by itself it needs no array, and nothing of what an array of a generic
  // type asks of the runtime.
  private var firstHandler: ((Argument) -> Void)?
  /// Nil while there is no other handler than the first; then that one's ID is `lastID`.
  private var further: Further?
  private var lastID: UInt64

  /// Makes a signal without handlers.
  ///
  /// - Parameter eventBase: on whose thread it is to be used, by default the thread's own; nil for none.
  public convenience init(eventBase: EventBase? = .current) {
    self.init(on: eventBase?.engine)
  }

  /// - Parameter confinement: whose thread it belongs to; nil for one of its own.
  /// - Parameter first: its handler, connected by ``SignalConnection/first``.
  init(on confinement: ThreadConfinement?, first: ((Argument) -> Void)? = nil) {
    self.confinement = confinement ?? ThreadConfinement(hasLoop: false)
    firstHandler = first
    lastID = SignalConnection.first.id
  }

  deinit {
    guard hasHandlers, !confinement.claim() else { return }
    confinement.releaseOnLoopThread((firstHandler, further))
  }

  /// Whether any handler is connected.
  public final var isConnected: Bool {
    confinement.requireLoopThread("Signal.isConnected")
    return resolved().hasHandlers
  }

  /// Adds a handler.
  ///
  /// - Parameter isolation: the actor that connects, which the compiler fills in. The handler runs on the thread of the
  ///   event base, not in the actor: where that is another, a line on standard error says so, once in a process.
  /// - Parameter handler: called at each emission until it is disconnected or the signal is released, which
  ///   keeps alive what it captures.
  /// - Returns: what ``disconnect(_:)`` takes.
  @discardableResult
  public final func connect(
    isolation: (any Actor)? = #isolation,
    _ handler: @escaping (Argument) -> Void
  ) -> SignalConnection {
    confinement.requireLoopThread("Signal.connect(_:)")
    if let isolation { confinement.checkHandler(of: isolation) }
    return resolved().add(handler)
  }

  /// The signal that has the handlers, which a subclass may keep elsewhere.
  func resolved() -> Signal<Argument> {
    self
  }

  /// Adds the only handler of a signal that never had one, in memory of its own; nil where there is none for it.
  func addAlone(_ handler: @escaping () -> Void) -> SignalConnection? {
    nil
  }

  private func add(_ handler: @escaping (Argument) -> Void) -> SignalConnection {
    let firstID = firstID
    lastID += 1
    if hasHandlers {
      let slots = (further?.slots ?? []) + [Slot(id: lastID, handler: handler)]
      further = Further(firstID: firstID, slots: slots)
    } else {
      firstHandler = handler
    }
    didConnect()
    return SignalConnection(id: lastID)
  }

  /// A handler was connected.
  func didConnect() {}

  /// Removes a handler; does nothing when it is not connected.
  public final func disconnect(_ connection: SignalConnection) {
    confinement.requireLoopThread("Signal.disconnect(_:)")
    resolved().remove(connection)
  }

  private func remove(_ connection: SignalConnection) {
    var slots = further?.slots ?? []
    let firstID = firstID
    if connection.id == firstID {
      firstHandler = nil
    } else {
      slots.removeAll { $0.id == connection.id }
    }
    let isFirstOnly = slots.isEmpty && (firstHandler == nil || firstID == lastID)
    further = isFirstOnly ? nil : Further(firstID: firstID, slots: slots)
  }

  /// Removes every handler.
  public final func disconnectAll() {
    confinement.requireLoopThread("Signal.disconnectAll()")
    resolved().releaseHandlers()
  }

  /// For code that is on the right thread already.
  final func releaseHandlers() {
    firstHandler = nil
    further = nil
  }

  /// Calls every handler with `argument`.
  public final func emit(_ argument: Argument) {
    confinement.requireLoopThread("Signal.emit(_:)")
    resolved().notify(argument)
  }

  /// Calls every handler, on the right thread already.
  final func notify(_ argument: Argument) {
    guard further != nil else {
      firstHandler?(argument)
      return
    }
    let last = lastID
    var called: UInt64 = 0
    // Looked up after each call, which may have changed the list, whose IDs rise.
    while let slot = nextSlot(after: called), slot.id <= last {
      called = slot.id
      slot.handler(argument)
    }
  }

  /// For code that is on the right thread already.
  final var hasHandlers: Bool {
    firstHandler != nil || further != nil
  }

  /// The first handler's; 0 without one.
  private var firstID: UInt64 {
    firstHandler == nil ? 0 : further?.firstID ?? lastID
  }

  private func nextSlot(after id: UInt64) -> Slot? {
    if let firstHandler, firstID > id {
      return Slot(id: firstID, handler: firstHandler)
    }
    return further?.slots.first { $0.id > id }
  }
}

extension Signal where Argument == Void {
  /// Adds a handler, as ``connect(isolation:_:)-(_,(Argument)->Void)`` does.
  ///
  /// - Parameter isolation: the actor that connects, which the compiler fills in.
  /// - Parameter handler: called at each emission until it is disconnected or the signal is released.
  /// - Returns: what ``disconnect(_:)`` takes.
  @discardableResult
  public final func connect(
    isolation: (any Actor)? = #isolation,
    _ handler: @escaping () -> Void
  ) -> SignalConnection {
    confinement.requireLoopThread("Signal.connect(_:)")
    if let isolation { confinement.checkHandler(of: isolation) }
    // A handler without an argument needs no memory beside its own; kept as one with an argument it does.
    return addAlone(handler) ?? resolved().add(handler)
  }

  /// Calls every handler.
  public final func emit() {
    emit(())
  }

  /// Calls every handler, on the right thread already.
  func notify() {
    notify(())
  }
}

/// One handler's connection to a signal.
public struct SignalConnection: Equatable, Sendable {
  /// Of a handler that was alone from the beginning.
  static let first = SignalConnection(id: 1)

  fileprivate var id: UInt64
}
