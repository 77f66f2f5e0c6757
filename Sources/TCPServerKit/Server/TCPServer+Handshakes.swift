// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// What a server needs of this one whose connections become pending some time after they have come: once they are
/// encrypted.
extension TCPServer {
  /// No connection is announced before ``deliver(_:)``.
  ///
  /// - Parameter endAll: called on the loop when the server closes or is released: ends the connections that are on their
  ///   way. It keeps no server alive.
  package final func deliverLater(endAll: @escaping () -> Void) {
    serverCore.deliversLater = true
    serverCore.endUndelivered = endAll
  }

  /// Makes the connection a socket that ``incomingConnection(_:)`` is called for; it counts from then on.
  ///
  /// - Returns: nil, with the descriptor still the caller's, when it is none of a connection.
  package final func takeIncomingSocket(_ descriptor: CInt) -> TCPSocket? {
    guard context.handsOver(descriptor), let connection = context.handover?.connection,
      context.handover?.isPlaceTaken == false
    else {
      let socket = TCPSocket(eventBase: eventBase)
      return socket.setSocketDescriptor(descriptor) ? socket : nil
    }
    context.handover?.isPlaceTaken = true
    unsafe context.handover?.connection.proxied = nil
    return TCPSocket(accepted: connection, context: context)
  }

  /// The connection of a socket is ready: it becomes pending, and is announced.
  package final func deliver(_ socket: TCPSocket) {
    addPendingConnection(socket)
    newConnection.notify()
  }

  /// How many connections are on their way to being delivered. While it is not 0, a server that has finished waits for
  /// them.
  package final func setUndelivered(_ count: Int) {
    serverCore.undeliveredYet = count
    if count == 0 { serverCore.prefacesAreOver() }
  }

  /// Runs `job` after the events of this turn of the loop, or of the next.
  package final func schedule(afterNextTurn isLater: Bool, _ job: @escaping () -> Void) {
    guard let engine = eventBase?.engine else { return }
    if isLater { engine.afterTurn(job) } else { engine.enqueue(job) }
  }

  /// Where other threads give jobs to the loop; nil without one.
  package final var loopInbox: LoopInbox? {
    eventBase.map { LoopInbox(engine: $0.engine) }
  }

  /// The same object for all sockets and servers of a loop; nil without one.
  package final var loopIdentity: (any AnyObject & Sendable)? {
    eventBase?.engine
  }

  package final func requireLoop(_ call: StaticString) {
    requireLoopThread(call)
  }

  /// Records what is wrong; see ``errorString``.
  package final func record(_ error: SocketError, _ text: String) {
    fail(Failure(error, text))
  }
}

/// The jobs of a loop, for other threads. It keeps no event base: a job that comes when that was released is released,
/// uncalled.
package struct LoopInbox: Sendable {
  fileprivate let engine: EventEngine

  package func post(_ job: @escaping @Sendable () -> Void) {
    engine.post(.closure(job))
  }
}
