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
    var id: UInt64
    var handler: (Argument) -> Void
  }

  // Nearly always there is one handler. Kept by itself it needs no array, and nothing of what an array of a generic
  // type asks of the runtime.
  private var firstHandler: ((Argument) -> Void)?
  private var firstID: UInt64 = 0
  /// Further handlers; nil while there are none. Only read or replaced whole: a handler may change it.
  private var further: [Slot]?
  private var lastID: UInt64 = 0

  /// Makes a signal without handlers.
  public init() {}

  /// Whether any handler is connected.
  public var isConnected: Bool {
    firstHandler != nil || further != nil
  }

  /// Adds a handler.
  ///
  /// - Parameter handler: called at each emission until it is disconnected or the signal is released, which
  ///   keeps alive what it captures.
  /// - Returns: what ``disconnect(_:)`` takes.
  @discardableResult
  public func connect(_ handler: @escaping (Argument) -> Void) -> SignalConnection {
    lastID += 1
    if isConnected {
      further = (further ?? []) + [Slot(id: lastID, handler: handler)]
    } else {
      firstHandler = handler
      firstID = lastID
    }
    return SignalConnection(id: lastID)
  }

  /// Removes a handler; does nothing when it is not connected.
  public func disconnect(_ connection: SignalConnection) {
    if firstHandler != nil, connection.id == firstID {
      firstHandler = nil
    } else if let slots = further {
      let left = slots.filter { $0.id != connection.id }
      further = left.isEmpty ? nil : left
    }
  }

  /// Removes every handler.
  public func disconnectAll() {
    firstHandler = nil
    further = nil
  }

  /// Calls every handler with `argument`.
  public func emit(_ argument: Argument) {
    guard further != nil else {
      firstHandler?(argument)
      return
    }
    let last = lastID
    var called: UInt64 = 0
    // Looked up anew each time: any call may have changed the list, whose IDs rise.
    while let slot = nextSlot(after: called), slot.id <= last {
      called = slot.id
      slot.handler(argument)
    }
  }

  private func nextSlot(after id: UInt64) -> Slot? {
    if let firstHandler, firstID > id {
      return Slot(id: firstID, handler: firstHandler)
    }
    return further?.first { $0.id > id }
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
