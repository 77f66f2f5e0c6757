// SPDX-License-Identifier: Apache-2.0

internal import Glibc
internal import Synchronization

/// The signals of the operating system, for every loop of the process that asks for some.
///
/// The kernel calls a handler on whichever thread it likes. That writes to the event descriptor of each listener, so that
/// taking a signal needs neither a thread nor a loop that is free. It also counts: a listener whose signals are to end
/// something, and that has not answered three of them, ends the process, whatever hangs.
enum SignalHub {
  private static let patience = 3

  /// A loop that asks for signals. Never freed but used again, because a handler may be reading it.
  final class Listener: Sendable {
    fileprivate let signals = Atomic<UInt64>(0)
    /// -1 while it is free.
    fileprivate let descriptor = Atomic<CInt>(-1)
    fileprivate let process = Atomic<CInt>(0)
    fileprivate let unanswered = Atomic(0)
    fileprivate let endsHungProcess = Atomic(false)
    fileprivate let next: UInt

    fileprivate init(next: UInt) {
      self.next = next
    }

    /// The loop has done what these signals ask for; they do not count any more.
    func answer(_ count: Int) {
      unanswered.subtract(count, ordering: .relaxed)
    }
  }

  /// What a signal did before the first listener.
  @safe private struct Earlier {
    var action: sigaction
    var listeners = 1
  }

  private struct Table {
    var earlier: [CInt: Earlier] = [:]
    var all: [Listener] = []
  }

  private static let table = Locked(Table())
  /// The newest listener's address.
  private static let newest = Atomic<UInt>(0)
  /// How many threads are in the handler now.
  private static let handling = Atomic(0)

  /// Writes to `descriptor` at each of these signals, until the listener is removed; from any thread.
  ///
  /// - Parameter endsHungProcess: whether the third signal without an answer ends the process.
  /// - Returns: nil, with nothing changed, when one of them is no signal that a process can take.
  static func add(_ signals: [CInt], descriptor: CInt, endsHungProcess: Bool) -> Listener? {
    // What is made at its first use is not made by the handler.
    handle(0)
    return table.withLock { table in
      let wanted = Set(signals)
      var installed: [CInt] = []
      for signal in wanted {
        guard install(signal, &table) else {
          installed.forEach { uninstall($0, &table) }
          return nil
        }
        installed.append(signal)
      }
      let listener = freeListener(&table)
      listener.unanswered.store(0, ordering: .relaxed)
      listener.endsHungProcess.store(endsHungProcess, ordering: .relaxed)
      listener.process.store(getpid(), ordering: .relaxed)
      listener.descriptor.store(descriptor, ordering: .relaxed)
      listener.signals.store(wanted.reduce(0) { $0 | bit($1) }, ordering: .releasing)
      return listener
    }
  }

  /// Nothing is written to its descriptor any more. Signals without any listener do again what they did before.
  static func remove(_ listener: Listener) {
    table.withLock { table in
      let signals = listener.signals.exchange(0, ordering: .sequentiallyConsistent)
      while handling.load(ordering: .sequentiallyConsistent) > 0 {
        sched_yield()
      }
      listener.descriptor.store(-1, ordering: .relaxed)
      for signal in CInt(1)...64 where signals & bit(signal) != 0 {
        uninstall(signal, &table)
      }
    }
  }

  private static func freeListener(_ table: inout Table) -> Listener {
    if let listener = table.all.first(where: { $0.descriptor.load(ordering: .relaxed) < 0 }) {
      return listener
    }
    let listener = Listener(next: newest.load(ordering: .relaxed))
    table.all.append(listener)
    unsafe newest.store(
      UInt(bitPattern: Unmanaged.passUnretained(listener).toOpaque()),
      ordering: .releasing
    )
    return listener
  }

  private static func bit(_ signal: CInt) -> UInt64 {
    signal > 0 ? 1 << UInt64(signal - 1) : 0
  }

  // MARK: - The kernel's side

  private static func install(_ signal: CInt, _ table: inout Table) -> Bool {
    guard (1...64).contains(signal) else { return false }
    if table.earlier[signal] != nil {
      table.earlier[signal]?.listeners += 1
      return true
    }
    var action = sigaction()
    action.handler = signalCame
    action.sa_flags = SA_RESTART
    unsafe sigfillset(&action.sa_mask)
    var earlier = sigaction()
    guard unsafe sigaction(signal, &action, &earlier) == 0 else { return false }
    table.earlier[signal] = Earlier(action: earlier)
    return true
  }

  private static func uninstall(_ signal: CInt, _ table: inout Table) {
    table.earlier[signal]?.listeners -= 1
    guard var earlier = table.earlier[signal], earlier.listeners == 0 else { return }
    table.earlier[signal] = nil
    var current = sigaction()
    unsafe sigaction(signal, nil, &current)
    // Another part of the program may have put its own handler there since.
    if current.isHandler(signalCame) { unsafe _ = sigaction(signal, &earlier.action, nil) }
  }

  /// Only what POSIX allows in a handler: atomics, and system calls.
  fileprivate static func handle(_ signal: CInt) {
    handling.add(1, ordering: .sequentiallyConsistent)
    var isTooMuch = false
    var address = newest.load(ordering: .acquiring)
    while let pointer = unsafe UnsafeRawPointer(bitPattern: address) {
      let listener = unsafe Unmanaged<Listener>.fromOpaque(pointer).takeUnretainedValue()
      if listener.signals.load(ordering: .acquiring) & bit(signal) != 0 {
        // A forked child has its parent's descriptors, and no loop.
        if listener.process.load(ordering: .relaxed) != getpid() {
          isTooMuch = true
        } else {
          // Before the loop hears of it, which answers at once: this thread may be stopped in between.
          if listener.unanswered.add(1, ordering: .relaxed).newValue >= patience,
            listener.endsHungProcess.load(ordering: .relaxed)
          {
            isTooMuch = true
          }
          SystemCalls.signal(listener.descriptor.load(ordering: .relaxed))
        }
      }
      address = listener.next
    }
    handling.subtract(1, ordering: .sequentiallyConsistent)
    if isTooMuch && endsProcess(signal) {
      var action = sigaction()
      action.handler = SIG_DFL
      unsafe sigaction(signal, &action, nil)
      // Comes when this handler returns; to the first process of a container never, which the kernel spares.
      raise(signal)
      if getpid() == 1 { _exit(128 + signal) }
    }
  }

  /// Whether that is what it does by default.
  private static func endsProcess(_ signal: CInt) -> Bool {
    signal != SIGCHLD && signal != SIGURG && signal != SIGWINCH && signal != SIGCONT && signal != SIGTSTP
      && signal != SIGTTIN && signal != SIGTTOU
  }
}

private func signalCame(_ signal: CInt) {
  let earlier = errno
  SignalHub.handle(signal)
  errno = earlier
}

extension sigaction {
  fileprivate var handler: (@convention(c) (CInt) -> Void)? {
    get {
      #if canImport(Glibc)
        unsafe __sigaction_handler.sa_handler
      #else
        unsafe __sa_handler.sa_handler
      #endif
    }
    set {
      #if canImport(Glibc)
        unsafe __sigaction_handler.sa_handler = newValue
      #else
        unsafe __sa_handler.sa_handler = newValue
      #endif
    }
  }

  fileprivate func isHandler(_ other: @convention(c) (CInt) -> Void) -> Bool {
    unsafe unsafeBitCast(handler, to: UInt.self) == unsafeBitCast(other, to: UInt.self)
  }
}
