// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import ServerProgram
import TCPServerKit

/// The options about PROXY headers: whose are required of clients, and which are sent to backends.
struct HeaderOptions: ParsableArguments, Sendable {
  @Option(
    parsing: .upToNextOption,
    help:
      "Require a PROXY header of each client, and serve those of these networks alone; unix: for proxies that connect to a path."
  )
  var behindProxy: [String] = []

  @Option(help: "Send backends a PROXY header of this version: v1 or v2.")
  var sendProxy: Version?

  enum Version: String, ExpressibleByArgument, CaseIterable {
    case v1
    case v2

    var version: ProxyHeader.Version {
      switch self {
      case .v1: .v1
      case .v2: .v2
      }
    }
  }

  func validate() throws {
    do {
      _ = try requirement()
    } catch {
      throw ValidationError("--behind-proxy: \(error).")
    }
  }

  /// No proxy could connect to a place whose kind is not among the networks.
  func validate(for place: Place) throws {
    guard !behindProxy.isEmpty else { return }
    let takesPaths = behindProxy.contains("unix:")
    guard !place.isAbstract else {
      throw ValidationError(
        "--behind-proxy unix: needs a path with a file: any process can connect to an abstract name, here \(place)."
      )
    }
    guard !place.isPath || takesPaths else {
      throw ValidationError("--behind-proxy needs unix: for --listen \(place).")
    }
    guard place.isPath || !takesPaths || behindProxy.count > 1 else {
      throw ValidationError("--behind-proxy needs a network for --listen \(place).")
    }
  }

  /// Nil where no header is required.
  func requirement() throws -> ProxyHeaderRequirement? {
    behindProxy.isEmpty ? nil : try ProxyHeaderRequirement(from: behindProxy)
  }

  /// What backends are sent of a client: its address, and what a proxy before has said of it.
  func header(for client: TCPSocket) -> ProxyHeader? {
    guard let sendProxy else { return nil }
    var header = ProxyHeader(forwarding: client, version: sendProxy.version)
    if sendProxy == .v2, let said = client.proxied?.header {
      header.tlvs = said.tlvs
      header.hasChecksum = said.hasChecksum
    }
    return header
  }
}

/// The options that limit clients, and how long backends are waited for.
struct GatewayLimits: ParsableArguments, Sendable {
  @Option(name: .customLong("connect"), help: "How many seconds a backend may take to accept a connection.")
  var connectSeconds = 5.0

  @Option(
    name: .customLong("retry"),
    help: "How many seconds a backend that has failed is left out, unless all others fail, too."
  )
  var retrySeconds = 5.0

  @Option(
    name: .customLong("first-byte"),
    help:
      "How many seconds a client may take to send its first byte; no limit without it, for servers that speak first."
  )
  var firstByteSeconds: Double?

  @Option(name: .customLong("idle"), help: "How many seconds neither side may send or take a byte.")
  var idleSeconds = 300.0

  @OptionGroup var sources: SourceOptions

  @OptionGroup var rules: PolicyOptions

  @OptionGroup var connections: ConnectionLimit

  func validate() throws {
    for (option, seconds) in [
      ("--connect", connectSeconds), ("--retry", retrySeconds), ("--first-byte", firstByteSeconds),
      ("--idle", idleSeconds),
    ] {
      guard let seconds else { continue }
      guard seconds > 0, seconds <= 1_000_000 else {
        throw ValidationError("\(option) takes a number of seconds, more than 0 and at most 1000000.")
      }
    }
  }

  var connect: Duration { .seconds(connectSeconds) }
  var retry: Duration { .seconds(retrySeconds) }
  var idle: Duration { .seconds(idleSeconds) }

  /// Without an idle time: the relay has that, at paths, too.
  var policy: ConnectionPolicy {
    rules.policy(firstByte: firstByteSeconds.map { .seconds($0) }, idle: nil)
  }
}
