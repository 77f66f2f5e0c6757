internal import CServerCore

/// Ending in order: nobody whom the kernel has accepted is turned away.
extension TCPServer {
  /// Stops listening in order: the clients that the kernel has already completed become pending first, whatever
  /// the limits say, and what is pending can still be taken.
  public final func finish() {
    checkThread()
    exchange(&bound, with: nil)?.finish()
    unsafe csc_server_finish(core)
    acceptWaiters.wakeAll()
  }

  /// Calls ``finish()`` on the server's loop when a shutdown begins; at once if it has begun.
  ///
  /// For a server whose connections are taken by ``accept()``, ``connections`` or ``nextPendingConnection()``:
  /// `serve` does this itself. Call it when the server listens; what has begun before is not undone by listening
  /// later.
  ///
  /// It holds, through ``close()`` and later ``listen(address:port:)`` calls, until the server is released or the
  /// call is made again. The shutdown keeps no server alive.
  ///
  /// - Parameter shutdown: begins on any thread. A server without an event base cannot be told: then
  ///   ``serverError`` is ``SocketError/operation``, unless the shutdown has begun already.
  public final func finish(on shutdown: GracefulShutdown) {
    checkThread()
    ending = nil
    if shutdown.hasBegun {
      finish()
    } else if let engine = eventBase?.engine {
      ending = Ending(of: self, on: shutdown, engine: engine)
    } else {
      fail(.operation, "finish(on:) called on a server without an event base")
    }
  }

  /// A server's registration with a shutdown, which ends with it.
  final class Ending {
    private let shutdown: GracefulShutdown
    private let id: UInt64

    /// Looked at on the server's loop alone, so that the server is never released elsewhere.
    private final class Place {
      weak var server: TCPServer?
    }

    init(of server: TCPServer, on shutdown: GracefulShutdown, engine: EventEngine) {
      nonisolated(unsafe) let place = Place()
      unsafe place.server = server
      self.shutdown = shutdown
      id = shutdown.onBegin { [weak engine] _ in
        engine?.post(.closure { unsafe place.server?.finish() })
      }
    }

    deinit {
      shutdown.forget(id)
    }
  }
}
