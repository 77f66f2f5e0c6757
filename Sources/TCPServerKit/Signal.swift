/// Something that happens on an object, to which any number of handlers can be connected.
///
/// Handlers run synchronously, in the order in which they were connected, on the thread of the object that
/// emits. A handler may connect and disconnect handlers, its own included, and may close or release anything:
/// a handler disconnected during an emission is not called by it any more, one connected during an emission
/// is called by the next.
///
/// A signal belongs to one thread and is not `Sendable`.
public final class Signal<Argument> {
  private struct Slot {
    var connection: SignalConnection
    var handler: (Argument) -> Void
  }

  // Only ever read or replaced whole: an access that runs other code would cost each emission a check.
  private var slots: [Slot] = []
  private var lastID: UInt64 = 0

  /// Makes a signal without handlers.
  public init() {}

  /// Whether any handler is connected.
  public var isConnected: Bool {
    !slots.isEmpty
  }

  /// Adds a handler.
  ///
  /// - Parameter handler: called at each emission until it is disconnected or the signal is released, which
  ///   keeps alive what it captures.
  /// - Returns: what ``disconnect(_:)`` takes.
  @discardableResult
  public func connect(_ handler: @escaping (Argument) -> Void) -> SignalConnection {
    lastID += 1
    let connection = SignalConnection(id: lastID)
    slots = slots + [Slot(connection: connection, handler: handler)]
    return connection
  }

  /// Removes a handler; does nothing when it is not connected.
  public func disconnect(_ connection: SignalConnection) {
    slots = slots.filter { $0.connection != connection }
  }

  /// Removes every handler.
  public func disconnectAll() {
    slots = []
  }

  /// Calls every handler with `argument`.
  public func emit(_ argument: Argument) {
    let slots = slots
    if slots.count == 1 {
      // The usual case; the copy keeps the handler alive if it disconnects itself.
      return slots[0].handler(argument)
    }
    let last = lastID
    var called: UInt64 = 0
    // Looked up anew each time: any call may have changed the list, which stays sorted by ID.
    while let slot = nextSlot(after: called), slot.connection.id <= last {
      called = slot.connection.id
      slot.handler(argument)
    }
  }

  private func nextSlot(after id: UInt64) -> Slot? {
    let slots = slots
    return slots.first { $0.connection.id > id }
  }
}

extension Signal where Argument == Void {
  /// Calls every handler.
  public func emit() {
    emit(())
  }
}

/// One handler's connection to a signal.
public struct SignalConnection: Equatable, Sendable {
  fileprivate var id: UInt64
}
