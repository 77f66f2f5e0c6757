// SPDX-License-Identifier: Apache-2.0

extension TCPServer {
  /// What a running server is doing: each of its loops, and each of their connections, as of
  /// ``TCPServer/snapshot(listing:patience:)``.
  ///
  /// <doc:OperatingAServer> explains the numbers.
  public struct Snapshot: Hashable, Sendable, CustomStringConvertible {
    /// Where it listens; ``HostAddress/null`` when it does not, or when that is its stuck loop's to say.
    public let address: HostAddress
    /// The port; 0 when it does not listen.
    public let port: UInt16
    /// The path where it listens, in the place of both; nil when it does not listen at one.
    public let path: String?
    /// The counters of all loops; nil where they are the stuck loop's alone.
    public internal(set) var statistics: Statistics?
    /// The server's loops, in the order of ``EventBaseGroup/eventBases``; one that only accepts comes last.
    public internal(set) var loops: [Loop]

    /// A loop, and its connections of this server.
    public struct Loop: Hashable, Sendable {
      /// Its place in ``EventBaseGroup/eventBases``.
      public let index: Int
      /// Whether it accepts connections, for itself or for all.
      public let accepts: Bool
      /// How long it took until the loop answered: what it does holds up each of its connections for so long. Nil
      /// when it did not answer in time: it is stuck, and the rest is what can be known from outside.
      public let delay: Duration?
      /// Its own counters, as far as the loop answered or any thread may read them: those of a stuck loop are without
      /// the kernel's queue.
      public internal(set) var statistics: Statistics?
      /// Jobs of other threads that the loop has not fetched.
      public let waitingJobs: Int
      /// The server's last error text on this loop; empty without one.
      public let errorString: String
      /// Connections, the oldest first as far as their age is known.
      public internal(set) var connections: [TCPSocket.Snapshot]
      /// Connections of this loop that were looked at and left out, because there were more than was asked for.
      public internal(set) var omittedConnections: Int
      /// Connections that count and were not found here: their program has done nothing with them yet, has taken their
      /// descriptor, or serves them on another loop.
      public let unseenConnections: Int

      /// Whether it did not answer in time.
      public var isStuck: Bool { delay == nil }
    }

    /// How many connections were left out, on all loops.
    public var omittedConnections: Int {
      loops.reduce(0) { $0 + $1.omittedConnections }
    }

    /// Adds up the kernel's queues, which a group's own counters leave out.
    mutating func addQueues() {
      for loop in loops {
        statistics?.acceptQueue += loop.statistics?.acceptQueue ?? 0
        statistics?.acceptQueueLimit += loop.statistics?.acceptQueueLimit ?? 0
      }
    }

    /// Leaves the oldest connections of all loops, as far as their age is known.
    mutating func keepOldest(_ count: Int) {
      let ages = loops.flatMap { $0.connections.map(\.leastAge) }
      guard ages.count > count else { return }
      let youngest = ages.sorted(by: >).dropFirst(count).first ?? .zero
      // Of those that are as old as the first one left out, some stay.
      var room = count - ages.count { $0 > youngest }
      for index in loops.indices {
        let kept = loops[index].connections.filter { connection in
          guard connection.leastAge == youngest else { return connection.leastAge > youngest }
          room -= 1
          return room >= 0
        }
        loops[index].omittedConnections += loops[index].connections.count - kept.count
        loops[index].connections = kept
      }
    }
  }
}

// MARK: - As text

extension TCPServer.Snapshot {
  /// For a person: a line for the server, for each loop and for each connection. The texts may change.
  public var description: String {
    let host = address.isNull ? "server, not listening" : "server on \(address), port \(port)"
    let place = path.map { "server at \($0)" } ?? host
    let head = place + (statistics.map { ": " + Self.numbers($0) } ?? "")
    return ([head] + loops.flatMap(\.lines)).joined(separator: "\n")
  }

  private static func rejectedBySource(_ statistics: TCPServer.Statistics) -> String {
    let count = statistics.rejectedBySourceLimit + statistics.rejectedBySourceRate
    return count > 0 ? ", rejected by source \(count)" : ""
  }

  fileprivate static func numbers(_ statistics: TCPServer.Statistics) -> String {
    "live \(statistics.live), pending \(statistics.pending), on their way \(statistics.inMailbox), "
      + "accepted \(statistics.accepted)" + rejectedBySource(statistics)
      + (statistics.acceptQueueLimit > 0
        ? ", accept queue \(statistics.acceptQueue) of \(statistics.acceptQueueLimit)" : "")
  }
}

extension TCPServer.Snapshot.Loop {
  fileprivate var lines: [String] {
    var head = "loop \(index)\(accepts ? " (accepts)" : "")"
    head += delay.map { ": answered after \($0.inSeconds) s" } ?? ": STUCK, it has not answered"
    if let statistics { head += "; \(TCPServer.Snapshot.numbers(statistics))" }
    head += "; jobs of other threads \(waitingJobs)"
    if !errorString.isEmpty { head += "; last error: \(errorString)" }
    var rest: [String] = []
    if omittedConnections > 0 { rest.append("  left out: \(omittedConnections)") }
    if unseenConnections > 0 { rest.append("  unseen: \(unseenConnections)") }
    return [head] + connections.map { "  \($0)" } + rest
  }
}

// MARK: - As JSON

extension TCPServer.Snapshot {
  /// The same in one line of JSON (RFC 8259), with the names of the properties; times are seconds, what is not known is
  /// `null`.
  public var json: String {
    JSONValue.object([
      "address": address.isNull ? .null : .text("\(address)"),
      "port": .integer(Int(port)),
      "path": JSONValue(path) { .text($0) },
      "statistics": JSONValue(statistics, \.json),
      "omittedConnections": .integer(omittedConnections),
      "loops": .array(loops.map(\.json)),
    ]).description
  }
}

extension TCPServer.Snapshot.Loop {
  fileprivate var json: JSONValue {
    .object([
      "index": .integer(index),
      "accepts": .bool(accepts),
      "isStuck": .bool(isStuck),
      "delay": JSONValue(delay) { .seconds($0) },
      "statistics": JSONValue(statistics, \.json),
      "waitingJobs": .integer(waitingJobs),
      "errorString": .text(errorString),
      "omittedConnections": .integer(omittedConnections),
      "unseenConnections": .integer(unseenConnections),
      "connections": .array(connections.map(\.json)),
    ])
  }
}

extension TCPServer.Statistics {
  var json: JSONValue {
    .object([
      "accepted": .count(accepted),
      "added": .count(added),
      "delivered": .count(delivered),
      "pending": .count(pending),
      "discardedOnClose": .count(discardedOnClose),
      "shed": .count(shed),
      "rejectedByAdmission": .count(rejectedByAdmission),
      "rejectedByLimit": .count(rejectedByLimit),
      "rejectedBySourceLimit": .count(rejectedBySourceLimit),
      "rejectedBySourceRate": .count(rejectedBySourceRate),
      "uncountedSources": .count(uncountedSources),
      "ratePauses": .count(ratePauses),
      "live": .count(live),
      "peerErrors": .count(peerErrors),
      "resourceErrors": .count(resourceErrors),
      "permissionErrors": .count(permissionErrors),
      "listenerErrors": .count(listenerErrors),
      "errorEpisodes": .count(errorEpisodes),
      "overloadPauses": .count(overloadPauses),
      "overloadTime": .seconds(overloadTime),
      "undelivered": .count(undelivered),
      "firstByteTimeouts": .count(firstByteTimeouts),
      "idleTimeouts": .count(idleTimeouts),
      "tooSlow": .count(tooSlow),
      "reachedMaximumAge": .count(reachedMaximumAge),
      "cutForAge": .count(cutForAge),
      "acceptQueue": .count(acceptQueue),
      "acceptQueueLimit": .count(acceptQueueLimit),
      "inMailbox": .count(inMailbox),
      "takenBack": .count(takenBack),
      "inPreface": .count(inPreface),
      "endedInPreface": .count(endedInPreface),
      "prefaceUntrusted": .count(prefaceUntrusted),
      "prefaceInvalid": .count(prefaceInvalid),
      "prefaceCutShort": .count(prefaceCutShort),
      "prefaceTimeouts": .count(prefaceTimeouts),
      "prefaceDropped": .count(prefaceDropped),
      "prefaceSilent": .count(prefaceSilent),
    ])
  }
}
