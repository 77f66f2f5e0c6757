// SPDX-License-Identifier: Apache-2.0

/// Which processors the threads of an ``EventBaseGroup`` run on.
public enum LoopPinning: Hashable, Sendable {
  /// Any, as the kernel chooses.
  case none
  /// Each thread on one processor of its own, as far as there are so many.
  ///
  /// It has no proven gain in general, and costs where other programs use the machine as well: measure it.
  case oneCPUEach
}

/// Which loop of an ``EventBaseGroup`` accepts connections for all.
public enum AcceptingLoop: Hashable, Sendable {
  /// The first one, which serves connections as well. While a handler blocks its thread, all new clients wait.
  case first
  /// One more, on a thread of its own, that does nothing else: clients are accepted and placed on other loops also while
  /// the handlers of the first one block its thread.
  case ownThread
}

/// Event loops on several threads: one server can have its connections on all of them.
///
/// ```swift
/// try EventBaseGroup.run { group in
///   let server = TCPServerGroup(on: group)
///   try await server.listen(port: 4242)
///   try await server.serve { socket in
///     while let line = try await socket.readLine() { try await socket.write(line) }
///   }
/// }
/// ```
public final class EventBaseGroup: Sendable {
  /// The loops, each run by a thread of its own.
  public let eventBases: [EventBase]
  /// The loop that accepts: one of ``eventBases``, or one beside them.
  public let acceptingEventBase: EventBase

  private init(_ eventBases: [EventBase], accepting: EventBase) {
    self.eventBases = eventBases
    acceptingEventBase = accepting
  }

  /// Runs loops while `body` runs as a task on the first of them; returns or throws what `body` does.
  ///
  /// The first loop is run by this thread, as by ``EventBase/run(_:)``, and what stops the program there does so here. The
  /// other threads have been joined when it returns. ``EventBase/stop()`` ends none of the loops: the body does.
  ///
  /// - Parameters:
  ///   - loops: how many, at least 1; nil, the default, for as many processors as the process may use: those of its
  ///     affinity mask, or fewer where its control group has a quota.
  ///   - pinning: which processors the threads run on.
  ///   - accepting: which loop accepts connections.
  ///   - body: waits for the tasks it starts: one that waits for a socket or connections then, or later, gets an error.
  /// - Throws: what `body` throws; ``SocketError/socketResource`` when there are not so many threads or descriptors.
  @available(*, noasync, message: "It blocks its thread: use EventBaseGroup.withThreads(_:)")
  public static func run<Success: Sendable>(
    loops: Int? = nil,
    pinning: LoopPinning = .none,
    accepting: AcceptingLoop = .first,
    _ body: @escaping @Sendable (EventBaseGroup) async throws -> Success
  ) throws -> Success {
    let plan = Plan(loops: loops, pinning: pinning, accepting: accepting)
    let before = ProcessorSet.allowed()
    if let cpu = plan.cpu(0) { ProcessorSet.pinThread(to: [cpu]) }
    defer { if plan.cpu(0) != nil { ProcessorSet.pinThread(to: before) } }
    let first = try EventBase()
    return try first.run { try await plan.start(from: first, body) }
  }

  /// Runs loops, each on a thread of its own, while `body` runs as a task on the first of them, and joins the threads.
  /// ``EventBase/stop()`` ends none of the loops: the body does.
  ///
  /// - Parameters:
  ///   - loops: as for ``run(loops:pinning:accepting:_:)``, as are the others.
  ///   - pinning: which processors the threads run on.
  ///   - accepting: which loop accepts connections.
  ///   - body: waits for the tasks it starts: one that waits for a socket or connections then, or later, gets an error.
  /// - Throws: what `body` throws; ``SocketError/socketResource`` when there are not so many threads or descriptors.
  ///
  /// ## Cancellation
  ///
  /// Cancels `body`; the call returns when that has ended and the threads were joined.
  ///
  /// ## Isolation
  ///
  /// `body` runs on the first of the new threads, and the caller goes on where it was.
  public static func withThreads<Success: Sendable>(
    loops: Int? = nil,
    pinning: LoopPinning = .none,
    accepting: AcceptingLoop = .first,
    _ body: @escaping @Sendable (EventBaseGroup) async throws -> Success
  ) async throws -> Success {
    let plan = Plan(loops: loops, pinning: pinning, accepting: accepting)
    return try await EventBase.withThread(on: plan.cpu(0)) { first in
      try await plan.start(from: first, body)
    }
  }

  private struct Plan {
    let loops: Int
    let cpus: [Int]
    let hasOwnAcceptor: Bool

    init(loops: Int?, pinning: LoopPinning, accepting: AcceptingLoop) {
      self.loops = max(loops ?? ProcessorSet.usableCount(), 1)
      cpus = pinning == .oneCPUEach ? ProcessorSet.allowed() : []
      hasOwnAcceptor = accepting == .ownThread
    }

    /// The processor of a loop's thread; nil for any.
    func cpu(_ loop: Int) -> Int? {
      cpus.isEmpty ? nil : cpus[loop % cpus.count]
    }

    /// Starts the other threads, and joins them when `body` has ended.
    func start<Success: Sendable>(
      from first: EventBase,
      _ body: @escaping @Sendable (EventBaseGroup) async throws -> Success
    ) async throws -> Success {
      var threads: [LoopThread] = []
      let result: Result<Success, any Error>
      do {
        for loop in 1..<(loops + (hasOwnAcceptor ? 1 : 0)) {
          // The one that only accepts goes where there is time.
          threads.append(try await LoopThread.start(on: loop < loops ? cpu(loop) : nil))
          // The body is the group's: a signal that any of its loops hears cancels it.
          threads.last?.base.engine.body.begin { _ = first.engine.body.cancel() }
        }
        let all = [first] + threads.map(\.base)
        let group = EventBaseGroup(
          Array(all.prefix(loops)),
          accepting: hasOwnAcceptor ? all[loops] : first
        )
        let value = try await body(group)
        for base in all { await base.deliver() }
        result = .success(value)
      } catch {
        result = .failure(error)
      }
      for thread in threads {
        thread.base.engine.body.end()
        await thread.stopAndJoin()
      }
      return try result.get()
    }
  }
}
