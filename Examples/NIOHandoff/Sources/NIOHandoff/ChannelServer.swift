// SPDX-License-Identifier: Apache-2.0

import Glibc
import NIOCore
import NIOPosix
import Synchronization
import TCPServerKit

/// Accepts connections and gives each of them to a channel of SwiftNIO, on one of its event loops.
///
/// The group has to outlive the server: what is handed to a loop that was shut down has no owner any more.
final class ChannelServer: TCPServer, @unchecked Sendable {
  private let bootstrap: ClientBootstrap
  private let initialize: @Sendable (any Channel) -> EventLoopFuture<Void>
  private let whenFailed: @Sendable (any Error) -> Void

  /// - Parameters:
  ///   - initialize: makes the channel one that serves its client; it sets the channel's options, too.
  ///   - whenFailed: called, on any thread, with the reason why a client is not served; its connection is closed then.
  init(
    eventBase: EventBase,
    group: any EventLoopGroup,
    initialize: @escaping @Sendable (any Channel) -> EventLoopFuture<Void>,
    whenFailed: @escaping @Sendable (any Error) -> Void
  ) {
    // No options here: they would be set before the initializer runs, which is how we know who owns the descriptor.
    bootstrap = ClientBootstrap(group: group)
    self.initialize = initialize
    self.whenFailed = whenFailed
    super.init(eventBase: eventBase)
  }

  /// The descriptor is NIO's from the moment the initializer is called, whatever happens then; before that it is ours.
  override func incomingConnection(_ socketDescriptor: CInt) {
    let permit = takeIncomingPermit()
    let isTaken = Flag()
    bootstrap
      .channelInitializer { [initialize] channel in
        isTaken.set()
        channel.closeFuture.whenComplete { _ in permit?.release() }
        return initialize(channel)
      }
      .withConnectedSocket(socketDescriptor)
      .whenFailure { [whenFailed] error in
        if !isTaken.isSet {
          Glibc.close(socketDescriptor)
          permit?.release()
        }
        whenFailed(error)
      }
  }
}

/// Set once, seen by all threads.
private final class Flag: Sendable {
  private let value = Atomic(false)

  var isSet: Bool {
    value.load(ordering: .acquiring)
  }

  func set() {
    value.store(true, ordering: .releasing)
  }
}
