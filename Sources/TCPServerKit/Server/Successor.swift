// SPDX-License-Identifier: Apache-2.0

internal import CServerCore
internal import Glibc

/// The process that has taken this one's place.
///
/// ```swift
/// let successor = try await Successor.waitUntilReady(for: ["greeter": server], at: "/run/greeter/control")
/// notifier?.mainProcess(successor.process ?? 0)
/// shutdown.begin(timeout: .seconds(20))
/// ```
///
/// <doc:RestartingWithoutLoss> has both sides.
public final class Successor: Sendable {
  private let control: ControlSocket

  private init(_ control: ControlSocket) {
    self.control = control
  }

  /// Says that the connections which this process had have ended, as ``Predecessor/waitUntilDrained()`` returns it.
  ///
  /// - Parameter report: of the servers.
  /// - Throws: why it was not said: the successor has ended, for instance.
  public func drained(_ report: ServingReport) throws(HandoverError) {
    let served = report.served - min(report.cancelled, report.served)
    let errnum = csc_handover_drained(control.descriptor, served, report.cancelled)
    if errnum != 0 { throw HandoverError(errnum: errnum) }
  }

  /// The number of its process; nil where the kernel does not say.
  public var process: CInt? {
    control.peerProcess
  }

  /// Offers the listening sockets of servers to other processes of this user, one after the other, until one says that it
  /// is ready.
  ///
  /// Until it returns, nothing has changed: a successor that ends, hangs or sends what is not the protocol is forgotten, and
  /// the next one may come. After it, the program begins its ``GracefulShutdown``. The connection to the successor lives as
  /// long as the object: hold it to the end of the process, which the successor can see by it.
  ///
  /// - Parameters:
  ///   - servers: by the names under which the successor finds their sockets, of 1 to 64 bytes; 64 sockets at most. One
  ///     that does not listen has none.
  ///   - path: of a unix-domain socket in a folder that is this user's alone; 1 to 90 bytes. One that another process of
  ///     this user has left there, or listens at, is replaced.
  ///   - timeout: how long a successor may take from receiving the sockets until it is ready.
  ///   - program: learns which process is ready, so that it ends one that it has started and that is not.
  ///   - values: makes what a successor receives besides the sockets, when it asks for them.
  /// - Throws: `CancellationError`, or the ``HandoverError`` for which nothing can be offered.
  ///
  /// ## Cancellation
  ///
  /// Throws `CancellationError`; the servers go on.
  ///
  /// ## Isolation
  ///
  /// Waits on threads of its own, works on the loop of one of the groups, and returns to the caller.
  public static func waitUntilReady(
    for servers: [String: TCPServerGroup],
    at path: String,
    timeout: Duration = .seconds(60),
    starting program: SuccessorProgram? = nil,
    values: @escaping @Sendable () async -> HandoverValues = { HandoverValues() }
  ) async throws -> Successor {
    try Task.checkCancellation()
    var descriptor: CInt = -1
    let errnum = unsafe csc_handover_listen(path, &descriptor)
    guard errnum == 0 else { throw HandoverError(errnum: errnum) }
    let listener = ControlSocket(descriptor)
    // On one of the loops: where other tasks keep the pool busy, a successor would not be answered in time.
    let loop = servers.values.first?.eventBases.acceptingEventBase
    return try await withTaskExecutorPreference(loop?.taskExecutor) {
      try await answerSuccessors(at: listener, servers, timeout, program, values)
    }
  }

  private static func answerSuccessors(
    at listener: ControlSocket,
    _ servers: [String: TCPServerGroup],
    _ timeout: Duration,
    _ program: SuccessorProgram?,
    _ values: @Sendable () async -> HandoverValues
  ) async throws -> Successor {
    while true {
      do {
        let control = try await accept(from: listener)
        try await offer(servers, await values(), to: control, timeout)
        // One that was killed meanwhile takes no one's place.
        if program?.isReady(control.peerProcess) ?? true { return Successor(control) }
      } catch let error as HandoverError where error.errnum != EINVAL {
        try Task.checkCancellation()
        // A lack of descriptors, for instance, is not over at once.
        if error.errnum != ECONNRESET { try await Task.sleep(for: .milliseconds(100), clock: .continuous) }
      }
    }
  }

  private static func accept(from listener: ControlSocket) async throws -> ControlSocket {
    let accepted = Locked<ControlSocket?>(nil)
    try await listener.wait {
      var control: CInt = -1
      let errnum = unsafe csc_handover_accept(listener.descriptor, -1, &control)
      if errnum == 0 { accepted.withLock { $0 = ControlSocket(control) } }
      // Which only the interruption gives: that of names is another.
      return errnum == EINVAL ? ECONNRESET : errnum
    }
    guard let control = accepted.withLock({ $0 }) else { throw CancellationError() }
    return control
  }

  private static func offer(
    _ servers: [String: TCPServerGroup],
    _ values: HandoverValues,
    to control: ControlSocket,
    _ timeout: Duration
  ) async throws {
    let valuesInC = HandoverValuesInC()
    let errnum = valuesInC.set(values)
    guard errnum == 0 else { throw HandoverError(errnum: errnum) }
    var duplicates: [(name: String, descriptor: CInt)] = []
    for (name, server) in servers.sorted(by: { $0.key < $1.key }) {
      duplicates += await server.duplicateListeners().map { (name, $0) }
    }
    let sockets = OfferedSockets(duplicates)
    let milliseconds = CInt(clamping: timeout.limited.wholeMilliseconds)
    try await control.wait {
      defer { sockets.close() }
      let errnum = Self.offer(sockets.all, valuesInC, to: control)
      return errnum == 0 ? csc_handover_wait_ready(control.descriptor, milliseconds) : errnum
    }
  }

  private static func offer(
    _ sockets: [(name: String, descriptor: CInt)],
    _ values: HandoverValuesInC,
    to control: ControlSocket
  ) -> CInt {
    let names = unsafe sockets.map { unsafe strdup($0.name) }
    defer { unsafe names.forEach { unsafe free($0) } }
    var listeners: [csc_handover_listener] = unsafe []
    for index in sockets.indices {
      guard let name = unsafe names[index] else { return ENOMEM }
      unsafe listeners.append(csc_handover_listener(name: name, descriptor: sockets[index].descriptor))
    }
    return unsafe csc_handover_offer(control.descriptor, listeners, listeners.count, values.content)
  }
}

/// Duplicates of listening sockets, which it closes: at the latest where no thread could begin to offer them.
final class OfferedSockets: Sendable {
  let all: [(name: String, descriptor: CInt)]
  private let isOpen = Locked(true)

  init(_ all: [(name: String, descriptor: CInt)]) {
    self.all = all
  }

  deinit {
    close()
  }

  func close() {
    guard isOpen.withLock({ exchange(&$0, with: false) }) else { return }
    for socket in all { SystemCalls.closeDescriptor(socket.descriptor) }
  }
}

extension TCPServerGroup {
  /// Duplicates of its listening sockets, which the caller closes: one, or with shards one for each loop.
  func duplicateListeners() async -> [CInt] {
    guard let members else { return [] }
    let listening = unsafe members.core != nil ? [members.acceptor] : members.servers
    let count = if case .shards = distribution { listening.count } else { 1 }
    var duplicates: [CInt] = []
    for server in listening.prefix(count) {
      let duplicate = await server.onLoop { SystemCalls.duplicate($0.socketDescriptor) }
      if duplicate >= 0 { duplicates.append(duplicate) }
    }
    return duplicates
  }
}
