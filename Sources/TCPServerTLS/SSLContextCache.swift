// SPDX-License-Identifier: Apache-2.0

internal import TCPServerKit

/// The contexts of a configuration, made when they are first used: one for each loop, as long as that is there.
final class SSLContextCache: Sendable {
  /// What a context is made for besides its configuration.
  struct Use: Hashable, Sendable {
    var isClient: Bool
    /// Whether ``SSLTransport`` is asked about each certificate of a peer.
    var asksAboutCertificates = false
    /// Whether handlers supply keys, also where the configuration has none.
    var asksForKeys = false
  }

  /// An object may have the address of one that has gone, so each entry says whose it is.
  private struct Entry: Sendable {
    weak let place: (any AnyObject & Sendable)?
    let hasPlace: Bool
    let context: SSLContext

    var isStale: Bool { hasPlace && place == nil }
  }

  private struct Key: Hashable, Sendable {
    let use: Use
    let place: ObjectIdentifier?
  }

  private let entries = Locked<[Key: Entry]>([:])

  /// How many contexts there are.
  var count: Int {
    entries.withLock { $0.count }
  }

  /// - Parameter place: the loop, so that no two threads share what OpenSSL counts.
  func context(
    _ use: Use,
    for place: (any AnyObject & Sendable)?,
    of configuration: SSLConfiguration
  ) throws(SSLError) -> SSLContext {
    let key = Key(use: use, place: place.map { ObjectIdentifier($0) })
    if let context = entries.withLock({ Self.find(key, place, in: $0) }) { return context }
    // Not under the lock: files are read. Of two that are made at once, one stays.
    let made = try SSLContext(configuration, for: use)
    return entries.withLock { entries in
      if let other = Self.find(key, place, in: entries) { return other }
      entries = entries.filter { !$0.value.isStale }
      entries[key] = Entry(place: place, hasPlace: place != nil, context: made)
      return made
    }
  }

  private static func find(_ key: Key, _ place: AnyObject?, in entries: [Key: Entry]) -> SSLContext? {
    guard let entry = entries[key], entry.place === place, !entry.isStale else { return nil }
    return entry.context
  }
}
