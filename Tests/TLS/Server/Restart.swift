// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import TCPServerTLS

/// The process before this one, and the one after it, which meet at a path. The listening socket goes from one to the
/// other, and so do the keys of the session tickets.
struct Restart {
  private static let socket = "tls"
  private static let secret = "ticket keys"

  private let path: String?
  private let tickets: SSLTicketKeys?
  private let inherited: InheritedSockets
  private let predecessor: Predecessor?

  /// - Parameters:
  ///   - path: nil where there is no other process.
  ///   - tickets: become those of the process before.
  init(at path: String?, _ tickets: SSLTicketKeys?) async throws {
    self.path = path
    self.tickets = tickets
    inherited = try InheritedSockets.fromEnvironment()
    predecessor =
      if let path { try await Predecessor.takeOver(at: path, into: inherited) } else { nil }
    if let keys = predecessor?.values.secrets[Self.secret] { try tickets?.replace(by: keys) }
  }

  func listen(_ server: TCPServerGroup) async throws {
    try await server.listen(on: .inherited(Self.socket, from: inherited, orListen: .localHost, port: 0))
    inherited.closeRest()
    try predecessor?.ready()
  }

  /// Begins the shutdown once another process serves.
  func handOver(_ server: TCPServerGroup, _ shutdown: GracefulShutdown) -> Task<Successor, any Error>? {
    guard let path else { return nil }
    return Task { [tickets] in
      let successor = try await Successor.waitUntilReady(for: [Self.socket: server], at: path) {
        HandoverValues(secrets: tickets.map { [Self.secret: $0.export()] } ?? [:])
      }
      shutdown.begin(timeout: .seconds(10))
      return successor
    }
  }
}
