// SPDX-License-Identifier: Apache-2.0

/// What happens on a server that its counters do not say.
package enum ServerEvent: Sendable {
  /// Accepting has failed, once for each episode.
  case acceptFailed(SocketError, isListening: Bool)
  case rejected(RejectedConnection)
}

extension MonitoredServer {
  /// Calls `observer` on the server's loops with what happens while `body` runs.
  ///
  /// - Parameter includingRejections: finding out where a client had connected to is a system call for each.
  package func observing(
    includingRejections: Bool,
    _ observer: @escaping @Sendable (ServerEvent) -> Void,
    while body: () async -> Void
  ) async {
    var handlers: [(errors: SignalConnection, rejections: SignalConnection?)] = []
    for server in servers {
      handlers.append(await server.onLoop { $0.connectObserver(observer, includingRejections) })
    }
    await body()
    for (server, handlers) in zip(servers, handlers) {
      await server.onLoop {
        $0.acceptError.disconnect(handlers.errors)
        if let rejections = handlers.rejections { $0.connectionRejected.disconnect(rejections) }
      }
    }
  }
}

extension TCPServer {
  fileprivate final func connectObserver(
    _ observer: @escaping @Sendable (ServerEvent) -> Void,
    _ includingRejections: Bool
  ) -> (errors: SignalConnection, rejections: SignalConnection?) {
    let errors = acceptError.connect { [unowned self] error in
      observer(.acceptFailed(error, isListening: isListeningNow))
    }
    let rejections = includingRejections ? connectionRejected.connect { observer(.rejected($0)) } : nil
    return (errors, rejections)
  }
}
