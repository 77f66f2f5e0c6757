// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// The program that takes this process's place, for the process to start by itself: a new version of its own.
///
/// ```swift
/// let program = SuccessorProgram(path: CommandLine.arguments[0])
/// program.startOnSignals(SIGHUP)
/// let successor = try await Successor.waitUntilReady(for: ["greeter": server], at: path, starting: program)
/// ```
///
/// A process that was started is this one's to end until it is ready: it is killed when it takes longer than the time
/// for that, or another one has become ready first. Afterwards nothing ends it.
///
/// ## Thread
///
/// Every member may be called from any task and thread.
public final class SuccessorProgram: Sendable {
  /// What became of a process that was started and did not get ready. This process goes on as before.
  public enum Failure: Error, Hashable, Sendable, CustomStringConvertible {
    /// It could not be started; the errno says why.
    case notStarted(errno: CInt)
    /// It has ended by itself, with this status.
    case exited(status: CInt)
    /// It was ended by a signal that is not of this process.
    case signaled(CInt)
    /// It was not ready in time, and was killed.
    case timedOut
    /// Another process was ready first, and it was killed.
    case overtaken

    /// The failure for a person to read, in English.
    public var description: String {
      switch self {
      case .notStarted(let errnum):
        "The successor cannot be started: \(SystemCalls.Failure(errnum: errnum).text)"
      case .exited(let status): "The successor has ended with \(status) before it was ready"
      case .signaled(let signal): "The successor was ended by signal \(signal) before it was ready"
      case .timedOut: "The successor was not ready in time, and was killed"
      case .overtaken: "Another process was ready before the successor, which was killed"
      }
    }
  }

  private enum State {
    /// With the process that was there last, where it was killed.
    case idle(killed: pid_t? = nil)
    /// With the reason for which it was killed.
    case starting(pid_t, killedFor: Failure?)
    /// Nothing ends it.
    case ready(pid_t)
  }

  private let path: String
  private let arguments: [String]
  private let timeout: Duration
  private let onFailure: @Sendable (Failure) -> Void
  private let state = Locked(State.idle())

  /// Describes the program; ``start()`` starts it.
  ///
  /// - Parameters:
  ///   - path: of its file. Not `/proc/self/exe`, which stays the old version.
  ///   - arguments: without the name of the program, which is `path`; by default those that this process was started
  ///     with.
  ///   - timeout: how long a process may take from its start until it is ready; then it is killed.
  ///   - onFailure: is called, on a thread of its own, with why a process did not get ready.
  public init(
    path: String,
    arguments: [String] = Array(CommandLine.arguments.dropFirst()),
    timeout: Duration = .seconds(60),
    onFailure: @escaping @Sendable (Failure) -> Void = { _ in }
  ) {
    self.path = path
    self.arguments = arguments
    self.timeout = timeout.limited
    self.onFailure = onFailure
  }

  /// The number of the process that was started and has not ended; nil while there is none.
  public var process: CInt? {
    state.withLock { state in
      switch state {
      case .idle: nil
      case .starting(let process, _), .ready(let process): process
      }
    }
  }

  /// Starts the program, unless a process that was started before has not ended yet.
  ///
  /// It has this process's environment, without the variables that are about this process alone (`LISTEN_PID` and its
  /// siblings, `WATCHDOG_PID`), its standard input, output and error, and such descriptors as are not close-on-exec. No
  /// signal is blocked or ignored in it.
  ///
  /// - Returns: false when there is a process already.
  /// - Throws: why it could not be started. `onFailure` is not called then.
  @discardableResult
  public func start() throws(Failure) -> Bool {
    let (isStarted, errnum) = state.withLock { state -> (Bool, CInt) in
      guard case .idle = state else { return (false, 0) }
      var process = pid_t()
      let errnum = SystemCalls.spawn(path, [path] + arguments, without: Self.ownVariables, &process)
      if errnum == 0 { state = .starting(process, killedFor: nil) }
      return (errnum == 0, errnum)
    }
    guard errnum == 0 else { throw .notStarted(errno: errnum) }
    if isStarted { watch() }
    return isStarted
  }

  /// Starts the program when this process receives one of these signals, `SIGHUP` as a rule. However many come while the
  /// loop is busy, none ends this process.
  ///
  /// - Parameters:
  ///   - signals: that a process can take.
  ///   - eventBase: the loop that hears the signals while it runs, and keeps this object alive; by default the thread's
  ///     own.
  /// - Returns: false without an event base, when one of the signals cannot be taken, and when descriptors are short.
  @discardableResult
  public func startOnSignals(_ signals: CInt..., eventBase: EventBase? = .current) -> Bool {
    guard let engine = eventBase?.engine else { return false }
    return engine.watchSignals(signals, endsHungProcess: false) { [self] in
      do throws(Failure) {
        try start()
      } catch {
        onFailure(error)
      }
      return .done
    }
  }

  /// Systemd's, which name the process that they are for.
  private static let ownVariables = [
    "LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID",
  ]

  // MARK: - The process

  private func watch() {
    guard let process else { return }
    let alarm = Task.detached { [timeout] in
      let isOver: Void? = try? await Task.sleep(for: timeout, clock: .continuous)
      if isOver != nil { self.kill(process, for: .timedOut) }
    }
    let thread = SystemThread.start { [self] in
      let status = SystemCalls.waitForEnd(of: process)
      alarm.cancel()
      reap(process, status)
    }
    if let thread { return thread.detach() }
    // Without a thread nothing would notice its end.
    alarm.cancel()
    kill(process, for: .notStarted(errno: EAGAIN))
    reap(process, SystemCalls.waitForEnd(of: process))
  }

  /// - Parameter end: as waitid(2) says; nil when that is unknown.
  private func reap(_ process: pid_t, _ end: SystemCalls.End?) {
    let failure = state.withLock { state -> Failure? in
      // Its number may be another process's from now on.
      SystemCalls.reap(process)
      guard case .starting(_, let reason) = state else {
        state = .idle()
        return nil
      }
      state = .idle(killed: reason == nil ? nil : process)
      if let reason { return reason }
      return switch end {
      case .exited(let status): .exited(status: status)
      case .signaled(let signal): .signaled(signal)
      case nil: .exited(status: -1)
      }
    }
    if let failure { onFailure(failure) }
  }

  /// - Parameter only: nil for whichever is starting.
  private func kill(_ only: pid_t?, for reason: Failure) {
    state.withLock { state in
      guard case .starting(let process, nil) = state, only ?? process == process else { return }
      state = .starting(process, killedFor: reason)
      Glibc.kill(process, SIGKILL)
    }
  }

  /// A process is ready: this one, which nothing ends any more, or another.
  ///
  /// - Returns: false when it is this one, and was killed while it said so.
  func isReady(_ process: CInt?) -> Bool {
    enum Which { case own, killed, other }
    let which = state.withLock { state -> Which in
      switch state {
      case .starting(let started, killedFor: nil) where started == process:
        state = .ready(started)
        return .own
      case .starting(let started, _) where started == process: return .killed
      case .idle(let killed?) where killed == process: return .killed
      default: return .other
      }
    }
    if which == .other { kill(nil, for: .overtaken) }
    return which != .killed
  }
}
