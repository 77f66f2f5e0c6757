// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import TCPServerKit

// What every server that strangers can reach needs: a limit for its connections, and for the time they may waste.

/// The option that limits how many connections a server has.
package struct ConnectionLimit: ParsableArguments, Sendable {
  @Option(help: "How many connections may be open at once; further clients wait until one has ended.")
  package var maxConnections = 1000

  package init() {}

  package func validate() throws {
    guard maxConnections > 0 else {
      throw ValidationError("--max-connections takes a number from 1 on.")
    }
  }

  /// Sets the limit, or a lower one where the process may not open as many descriptors (`ulimit -n`).
  ///
  /// To be called when the server listens, and the program has opened what else it needs. At the limit accepting pauses
  /// at no cost; without one the server would find out by trial, again and again, that no descriptors are left, which
  /// the last one before the reserve counts as.
  ///
  /// - Parameters:
  ///   - count: how many descriptors serving a connection takes.
  ///   - loops: on how many loops connections are relayed, whose pipes take descriptors as well.
  ///   - servers: how many servers share the descriptors evenly.
  package func apply(
    to server: TCPServer,
    descriptorsEach count: Int = 1,
    relayLoops loops: Int = 0,
    servers: Int = 1
  ) {
    let left = server.descriptorHeadroom - 1
    let most = loops == 0 ? left / count : Self.mostRelays(left, descriptorsEach: count, loops: loops)
    server.maxConnections = max(1, min(maxConnections, most / servers))
    // A connection that has been ended keeps its place until its peer has ended it, too, or is silent for so long.
    server.deliveryTimeout = .seconds(5)
  }
}

extension ConnectionLimit {
  /// How many relays have enough descriptors at any time.
  ///
  /// A pipe is two descriptors. Each direction of a relay uses one while it holds bytes; a loop has 64 of them at most,
  /// and keeps 16 of those that are not in use.
  package static func mostRelays(_ descriptors: Int, descriptorsEach count: Int, loops: Int) -> Int {
    let withAllPipes = (descriptors - 2 * 64 * loops) / count
    let withPipesOfTheirOwn = (descriptors - 2 * 16 * loops) / (count + 2 * 2)
    return max(withAllPipes, withPipesOfTheirOwn)
  }
}

/// The options that limit how long a client may keep a connection without using it.
package struct Deadlines: ParsableArguments, Sendable {
  @Option(name: .customLong("first-byte"), help: "How many seconds a client may take to send its first byte.")
  var firstByteSeconds = 10.0

  @Option(name: .customLong("idle"), help: "How many seconds a connection may be silent after that.")
  var idleSeconds = 60.0

  package init() {}

  package var firstByte: Duration { .seconds(firstByteSeconds) }
  package var idle: Duration { .seconds(idleSeconds) }

  package func validate() throws {
    for (option, seconds) in [("--first-byte", firstByteSeconds), ("--idle", idleSeconds)] {
      guard seconds > 0, seconds <= 1_000_000 else {
        throw ValidationError("\(option) takes a number of seconds, more than 0 and at most 1000000.")
      }
    }
  }
}

/// The options that limit what one address, or all together, may take of a server.
package struct SourceOptions: ParsableArguments, Sendable {
  @Option(help: "How many connections an address may have at once.")
  var perSource: Int?

  @Option(help: "How many connections of an address are accepted in a second.")
  var sourceRate: Int?

  @Option(help: "How many connections are accepted in a second, from all addresses.")
  var acceptRate: Int?

  package init() {}

  package func validate() throws {
    for (option, number) in [
      ("--per-source", perSource), ("--source-rate", sourceRate), ("--accept-rate", acceptRate),
    ] {
      guard number ?? 1 > 0 else { throw ValidationError("\(option) takes a number from 1 on.") }
    }
  }

  /// Whether there is a limit that goes by addresses.
  package var limitsSources: Bool {
    perSource != nil || sourceRate != nil
  }

  /// A rejected client is reset: that leaves nothing in the kernel for a flood to fill.
  package func apply(to server: TCPServer) {
    if limitsSources {
      server.sourceLimits = SourceLimits(
        maxConnections: perSource,
        acceptsPerSecond: sourceRate,
        resetsClients: true
      )
    }
    server.acceptRate = acceptRate.map { AcceptRate(acceptsPerSecond: $0) }
  }
}

/// The options of what no deadline of a single step covers: clients that are slow all the time, or stay for ever.
package struct PolicyOptions: ParsableArguments, Sendable {
  @Option(
    help: "How many bytes a second a client has to send and take, while it has something to send or to take."
  )
  var minimumRate: Int?

  @Option(name: .customLong("max-age"), help: "At how many seconds a connection is to end.")
  var maxAgeSeconds: Double?

  package init() {}

  package func validate() throws {
    guard minimumRate ?? 1 > 0 else {
      throw ValidationError("--minimum-rate takes a number from 1 on.")
    }
    guard let seconds = maxAgeSeconds else { return }
    guard seconds > 0, seconds <= 1_000_000 else {
      throw ValidationError("--max-age takes a number of seconds, more than 0 and at most 1000000.")
    }
  }

  /// Whatever serves the connections, they come under it.
  package func policy(_ deadlines: Deadlines) -> ConnectionPolicy {
    policy(firstByte: deadlines.firstByte, idle: deadlines.idle)
  }

  /// - Parameters:
  ///   - firstByte: how long a client may take for its first byte; nil for no limit.
  ///   - idle: how long its connection may be silent; nil for no limit.
  package func policy(firstByte: Duration?, idle: Duration?) -> ConnectionPolicy {
    ConnectionPolicy(
      firstByte: firstByte,
      idle: idle,
      maximumAge: maxAgeSeconds.map { .seconds($0) },
      minimumRate: minimumRate
    )
  }
}
