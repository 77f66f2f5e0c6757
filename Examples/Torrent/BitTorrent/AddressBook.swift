// SPDX-License-Identifier: Apache-2.0

/// The peers that a torrent knows of, and when to connect to which.
package struct AddressBook {
  package typealias Instant = ContinuousClock.Instant

  private struct Entry {
    var nextTry: Instant
    var failures = 0
    var isInUse = false
    var isBanned = false
    var peerID: [UInt8]?
  }

  /// What a connection came to.
  package enum Outcome {
    case failed
    case worked
    /// There was nothing to do for each other.
    case bothComplete
  }

  private static let mostEntries = 1000
  /// After a connection that worked.
  private static let pause: Duration = .seconds(30)
  /// After one that did not: doubled up to the pause.
  private static let firstPause: Duration = .seconds(1)
  /// After one between seeds.
  private static let longPause: Duration = .seconds(600)

  private var entries: [Endpoint: Entry] = [:]
  private var bannedIDs: Set<[UInt8]> = []

  package init() {}

  package mutating func add(_ endpoints: [Endpoint], now: Instant) {
    for endpoint in endpoints where entries[endpoint] == nil && entries.count < Self.mostEntries {
      entries[endpoint] = Entry(nextTry: now)
    }
  }

  /// A peer to connect to now, which counts as in use from then on.
  ///
  /// - Parameter connected: the peers that are there already, maybe because they have connected to us.
  package mutating func next(now: Instant, connected: Set<[UInt8]>) -> Endpoint? {
    let endpoint = entries.first { _, entry in
      !entry.isInUse && !entry.isBanned && entry.nextTry <= now
        && !(entry.peerID.map { connected.contains($0) } ?? false)
    }?.key
    if let endpoint {
      entries[endpoint]?.isInUse = true
    }
    return endpoint
  }

  package mutating func identify(_ endpoint: Endpoint, _ peerID: [UInt8]) {
    entries[endpoint]?.peerID = peerID
    entries[endpoint]?.failures = 0
  }

  /// The connection has ended, or did not come about.
  package mutating func ended(_ endpoint: Endpoint, _ outcome: Outcome, now: Instant) {
    guard var entry = entries[endpoint] else { return }
    entry.isInUse = false
    switch outcome {
    case .failed:
      entry.nextTry = now + min(Self.firstPause * (1 << entry.failures), Self.pause)
      entry.failures = min(entry.failures + 1, 10)
    case .worked:
      entry.nextTry = now + Self.pause
    case .bothComplete:
      entry.nextTry = now + Self.longPause
    }
    entries[endpoint] = entry
  }

  /// Never again.
  package mutating func ban(_ endpoint: Endpoint?, _ peerID: [UInt8]?) {
    if let endpoint {
      entries[endpoint]?.isBanned = true
    }
    if let peerID, bannedIDs.count < Self.mostEntries {
      bannedIDs.insert(peerID)
    }
  }

  package func isBanned(_ peerID: [UInt8]) -> Bool {
    bannedIDs.contains(peerID)
  }
}
