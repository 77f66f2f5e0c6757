// SPDX-License-Identifier: Apache-2.0

#if Logging
  internal import Logging
  internal import TCPServerKit

  /// The lines about accept errors: two for an episode, however many attempts fail in it.
  final class AcceptErrorLog: Sendable {
    private struct Episode {
      let error: SocketError
      let began = ContinuousClock.now
      /// Reports of errors beside the first.
      var suppressed = 0
      /// At the first look.
      var before: TCPServer.Statistics?
      /// At the latest.
      var last: TCPServer.Statistics?
      /// Looks in a row between which no attempt failed, and accepting did not pause.
      var quietLooks = 0
    }

    /// An attempt comes once a second at least while accepting fails.
    private static let quietLooksAtEnd = 2

    private let logger: Logger
    private let episode = Locked<Episode?>(nil)

    init(_ logger: Logger) {
      self.logger = logger
    }

    var isInEpisode: Bool {
      episode.withLock { $0 != nil }
    }

    func failed(_ error: SocketError, isListening: Bool) {
      guard isListening else {
        logger.debug("The listening socket broke", metadata: ["error.code": "\(error.rawValue)"])
        return
      }
      let isNew = episode.withLock { episode in
        if episode != nil {
          episode?.suppressed += 1
          episode?.quietLooks = 0
          return false
        }
        episode = Episode(error: error)
        return true
      }
      guard isNew else { return }
      logger.info(
        "Accepting connections fails: \(error)",
        metadata: ["error.code": "\(error.rawValue)"]
      )
    }

    /// An episode may have begun before the log could see it: a server accepts from the moment it listens.
    func began(_ now: TCPServer.Statistics, since before: TCPServer.Statistics?) {
      guard now.errorEpisodes > before?.errorEpisodes ?? 0, !isInEpisode else { return }
      failed(now.resourceErrors > 0 ? .socketResource : .socketAccess, isListening: true)
    }

    /// Looks whether the episode is over.
    func look(_ now: TCPServer.Statistics) {
      let ended = episode.withLock { state -> Episode? in
        guard var episode = state else { return nil }
        let isQuiet =
          episode.last.map { Self.failures($0) == Self.failures(now) && $0.overloadTime == now.overloadTime }
          ?? false
        episode.before = episode.before ?? now
        episode.last = now
        episode.quietLooks = isQuiet ? episode.quietLooks + 1 : 0
        state = episode.quietLooks < Self.quietLooksAtEnd ? episode : nil
        return state == nil ? episode : nil
      }
      guard let ended else { return }
      let rejected = now.shed - (ended.before?.shed ?? now.shed)
      logger.info(
        "Accepting connections goes on again",
        metadata: [
          "error.code": "\(ended.error.rawValue)",
          "tcp.server.episode.seconds": "\((ContinuousClock.now - ended.began).components.seconds)",
          "tcp.server.episode.suppressed": "\(ended.suppressed)",
          "tcp.server.episode.rejected": "\(rejected)",
        ]
      )
    }

    private static func failures(_ statistics: TCPServer.Statistics) -> UInt64 {
      statistics.resourceErrors + statistics.permissionErrors
    }
  }
#endif
