// SPDX-License-Identifier: Apache-2.0

internal import CServerCore
internal import Glibc

/// Messages to the service manager that has started the process, systemd for instance, as sd_notify(3) describes them.
///
/// ```swift
/// let notifier = ServiceNotifier()
/// notifier?.ready(status: "Serving")
/// ```
///
/// A message is sent when a call returns, and waits one second at most for a manager that does not read. Each returns
/// false when it could not be sent, which no program has to look at. <doc:RunningUnderSystemd> says which a unit needs.
///
/// ## Thread
///
/// Every member may be called from any task and thread.
public struct ServiceNotifier: Sendable {
  private let manager: String

  /// How often at least the manager wants a sign of life; nil for never. ``pingWatchdog(whileAnswering:)-([EventBase])``
  /// gives it.
  public let watchdogInterval: Duration?

  /// Nil where no manager wants messages: `NOTIFY_SOCKET` is not in the environment, which is read once. It stays there, for
  /// children to use.
  public init?() {
    guard let manager = unsafe getenv("NOTIFY_SOCKET"), unsafe manager.pointee != 0 else { return nil }
    let interval = csc_watchdog_interval()
    unsafe self.init(
      manager: String(cString: manager),
      watchdogInterval: interval > 0 ? .microseconds(Int64(clamping: interval)) : nil
    )
  }

  init(manager: String, watchdogInterval: Duration? = nil) {
    self.manager = manager
    self.watchdogInterval = watchdogInterval
  }

  /// - Returns: whether it was sent.
  func send(_ state: String, _ descriptor: CInt = -1) -> Bool {
    unsafe csc_notify(manager, state, descriptor) == 0
  }

  /// The process serves, or a reload is over.
  ///
  /// - Parameter status: as for ``status(_:)``; nil leaves it.
  @discardableResult
  public func ready(status: String? = nil) -> Bool {
    send("READY=1" + (status.map { "\nSTATUS=" + Self.line($0) } ?? ""))
  }

  /// What the process does, for `systemctl status`.
  ///
  /// - Parameter status: one line; line ends and other control characters in it become spaces.
  @discardableResult
  public func status(_ status: String) -> Bool {
    send("STATUS=" + Self.line(status))
  }

  /// The process begins to read its configuration again; ``ready(status:)`` says that it has.
  @discardableResult
  public func reloading() -> Bool {
    unsafe csc_notify_reloading(manager) == 0
  }

  /// The process begins to end: it accepts no more, and serves what it has.
  @discardableResult
  public func stopping() -> Bool {
    send("STOPPING=1")
  }

  /// Another process is the service's main one from now on.
  ///
  /// - Parameter process: its number.
  @discardableResult
  public func mainProcess(_ process: CInt) -> Bool {
    send("MAINPID=\(process)")
  }

  /// Starting, reloading or stopping takes longer than the unit's timeout allows.
  ///
  /// - Parameter time: how long from now on at most, until it is done or this is called again.
  @discardableResult
  public func extendTimeout(by time: Duration) -> Bool {
    send("EXTEND_TIMEOUT_USEC=\(time.limited.microseconds)")
  }

  /// Has the manager keep a duplicate of a descriptor, and pass it to the next process of the service, which finds it in
  /// ``InheritedSockets``. The unit needs `FileDescriptorStoreMax=`.
  ///
  /// - Parameters:
  ///   - descriptor: still the caller's.
  ///   - name: 1 to 255 printable ASCII characters without a colon.
  /// - Returns: false where it was not sent, or the name is not such a one.
  @discardableResult
  public func store(_ descriptor: CInt, name: String) -> Bool {
    Self.isName(name) && descriptor >= 0 && send("FDSTORE=1\nFDNAME=\(name)", descriptor)
  }

  /// Has the manager close the descriptors that it keeps by this name.
  ///
  /// - Parameter name: as for ``store(_:name:)``.
  /// - Returns: as for that.
  @discardableResult
  public func removeStored(name: String) -> Bool {
    Self.isName(name) && send("FDSTOREREMOVE=1\nFDNAME=\(name)")
  }

  /// Waits until the manager has read all messages before this one. A process that ends earlier may lose them, because the
  /// manager cannot find out any more whose they are.
  ///
  /// - Parameter timeout: how long to wait at most.
  /// - Returns: false when it was not sent, or the manager has not read it in that time.
  ///
  /// ## Cancellation
  ///
  /// Has no effect.
  ///
  /// ## Isolation
  ///
  /// Waits on a thread of its own, and returns to the caller.
  @discardableResult
  public func barrier(timeout: Duration = .seconds(5)) async -> Bool {
    let milliseconds = CInt(clamping: timeout.limited.microseconds / 1000)
    return await withCheckedContinuation { continuation in
      let thread = SystemThread.start { [manager] in
        unsafe continuation.resume(returning: csc_notify_barrier(manager, milliseconds) == 0)
      }
      if let thread { thread.detach() } else { continuation.resume(returning: false) }
    }
  }

  /// A line end would begin another assignment.
  private static func line(_ text: String) -> String {
    String(String.UnicodeScalarView(text.unicodeScalars.map { $0.value < 0x20 ? " " : $0 }))
  }

  private static func isName(_ name: String) -> Bool {
    (1...255).contains(name.utf8.count) && name.utf8.allSatisfy { (0x20..<0x7f).contains($0) && $0 != 0x3a }
  }
}

extension Duration {
  fileprivate var microseconds: Int64 {
    components.seconds * 1_000_000 + components.attoseconds / 1_000_000_000_000
  }
}
