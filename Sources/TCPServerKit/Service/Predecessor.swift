// SPDX-License-Identifier: Apache-2.0

internal import CServerCore
internal import Glibc

/// The process that has served until now, as the one sees it that takes its place.
///
/// ```swift
/// let inherited = InheritedSockets()
/// let predecessor = try await Predecessor.takeOver(at: "/run/greeter/control", into: inherited)
/// try await server.listen(on: .inherited("greeter", from: inherited, port: 4242))
/// try predecessor?.ready()
/// ```
///
/// Both processes accept from the same queue from ``TCPServerGroup/listen(on:)`` until ``ready()``, and the predecessor stops
/// then: no client is refused or reset. <doc:RestartingWithoutLoss> has both sides.
public final class Predecessor: Sendable {
  /// What it has left to this process besides its sockets.
  public let values: HandoverValues

  private let control: ControlSocket

  private init(_ control: ControlSocket, _ values: HandoverValues) {
    self.control = control
    self.values = values
  }

  /// Asks the process that offers its listening sockets at `path` for them.
  ///
  /// - Parameters:
  ///   - path: a unix-domain socket in a folder that is this user's alone; 1 to 90 bytes.
  ///   - inherited: receives them, under the names that the predecessor has given them.
  /// - Returns: nil where no process offers any, as at the first start.
  /// - Throws: why it failed. The predecessor goes on serving, and this process would listen beside it, or not at all: it
  ///   should end.
  ///
  /// ## Cancellation
  ///
  /// Has no effect; it takes some seconds at most.
  ///
  /// ## Isolation
  ///
  /// Waits on a thread of its own, and returns to the caller.
  public static func takeOver(
    at path: String,
    into inherited: InheritedSockets
  ) async throws(HandoverError) -> Predecessor? {
    let connected = Locked<ControlSocket?>(nil)
    let values = HandoverValuesInC()
    do {
      try await HandoverError.wait {
        var control: CInt = -1
        let errnum = unsafe csc_handover_connect(path, &control)
        guard errnum == 0 else { return errnum }
        connected.withLock { $0 = ControlSocket(control) }
        return inherited.receive(from: control, values)
      }
    } catch {
      if error.errnum == ENOENT || error.errnum == ECONNREFUSED { return nil }
      throw error
    }
    return connected.withLock { $0 }.map { Predecessor($0, values.get()) }
  }

  /// Says that this process accepts. The predecessor stops accepting, serves the connections that it has, and ends. Nothing
  /// is to be said to one that has ended already.
  ///
  /// Where the predecessor has closed the connection to this process, it blocks until that has ended, for a second at most.
  ///
  /// - Throws: why it was not said: the predecessor has given this process up and goes on serving. This one should end.
  public func ready() throws(HandoverError) {
    let errnum = csc_handover_ready(control.descriptor)
    if errnum != 0 { throw HandoverError(errnum: errnum) }
  }

  /// What became of the connections that a predecessor had when its successor was ready.
  public struct Drained: Hashable, Sendable {
    /// Those that it has served to their end.
    public var served: UInt64
    /// Those that it has cut off when their time was over.
    public var cut: UInt64
  }

  /// Waits until the predecessor has ended its connections, and says what became of them by ``Successor/drained(_:)``.
  ///
  /// - Throws: `CancellationError`, or the ``HandoverError`` of a predecessor that has ended without saying it.
  ///
  /// ## Cancellation
  ///
  /// Throws `CancellationError`; further calls throw a ``HandoverError``.
  ///
  /// ## Isolation
  ///
  /// Waits on a thread of its own, and returns to the caller.
  public func waitUntilDrained() async throws -> Drained {
    let drained = Locked(Drained(served: 0, cut: 0))
    do {
      try await control.wait { [control] in
        var (served, cut): (UInt64, UInt64) = (0, 0)
        let errnum = unsafe csc_handover_wait_drained(control.descriptor, -1, &served, &cut)
        drained.withLock { $0 = Drained(served: served, cut: cut) }
        return errnum
      }
    } catch {
      try Task.checkCancellation()
      throw error
    }
    return drained.withLock { $0 }
  }

  /// The number of its process; nil where the kernel does not say.
  public var process: CInt? {
    control.peerProcess
  }
}
