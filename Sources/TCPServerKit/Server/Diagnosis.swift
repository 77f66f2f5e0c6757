// SPDX-License-Identifier: Apache-2.0

extension TCPServer {
  /// The limits of a server and of its process, in words for the person who runs it.
  ///
  /// <doc:OperatingAServer> explains each line, and what can be done.
  public struct Diagnosis: Hashable, Sendable, CustomStringConvertible {
    /// A line for each limit. What could not be read is `unknown`, with the reason.
    public let lines: [String]
    /// Which limit further connections reach first, after how many, and what happens then.
    public let firstLimit: String

    /// The lines, the one about the first limit at the end.
    public var description: String {
      (lines + ["first limit: \(firstLimit)"]).joined(separator: "\n")
    }
  }
}

/// Makes a ``TCPServer/Diagnosis`` of what a server is set to and what the system allows.
struct Diagnostician {
  struct Server {
    /// Nil for no limit.
    let maxConnections: Int?
    let excess: ExcessConnectionPolicy
    let overload: OverloadPolicy
    let live: Int
    let maxPending: Int
    let pending: Int
    let reserve: Int
    /// As asked for; `Int.max` for as long as may be.
    let backlog: Int
    /// Of the kernel's queue; nil where the server has no listening socket of its own.
    let acceptQueue: (length: Int, limit: Int)?
    /// Nil where no PROXY headers are required.
    let prefaces: (networks: [String], now: Int, most: Int)?
    /// Nil where sources are not limited.
    var sources: (limits: SourceLimits, inUse: Int)?
    /// Nil for as many as come.
    var acceptRate: AcceptRate?
    /// Of a UNIX socket the kernel does not say how long its queue is, and connecting takes no handshake.
    let isUnix: Bool
    let loops: Int
    /// Each loop has a listening socket of its own.
    var hasShards = false
  }

  /// What an idle connection needs at least, in the kernel and in the process together.
  static let bytesOfConnection = 8192

  let server: Server
  let limits: ProcessLimits

  var diagnosis: TCPServer.Diagnosis {
    TCPServer.Diagnosis(
      lines: [descriptors, connections, pending] + prefaces + sources + rate + [
        acceptQueue, handshakes,
      ] + shards + [
        memory, processors,
      ],
      firstLimit: firstLimit
    )
  }

  // MARK: - Lines

  private var descriptors: String {
    guard case .success(let limit) = limits.descriptors, case .success(let open) = limits.openDescriptors
    else {
      return "descriptors: unknown (\(reason(limits.descriptors) ?? reason(limits.openDescriptors) ?? ""))"
    }
    let need =
      server.maxConnections.map { "maxConnections needs \($0)" } ?? "no maxConnections bounds the need"
    return
      "descriptors: \(open) of \(limit.soft) in use (hard limit \(limit.hard)), \(descriptorsLeft ?? 0) left beside "
      + "the reserve of \(reserve(below: limit.soft)); \(need)"
  }

  private var connections: String {
    guard let most = server.maxConnections else { return "connections: \(server.live), no maxConnections" }
    return "connections: \(server.live) of maxConnections, \(most)"
  }

  private var pending: String {
    "pending: \(server.pending) of maxPendingConnections, \(max(server.maxPending, 0))"
  }

  private var prefaces: [String] {
    guard let prefaces = server.prefaces else { return [] }
    let networks = prefaces.networks.joined(separator: ", ")
    return [
      "PROXY headers: required, from \(networks); \(prefaces.now) of maxPrefaces, \(prefaces.most), are being read"
    ]
  }

  private var sources: [String] {
    guard let (limits, inUse) = server.sources else { return [] }
    let most = limits.maxConnections.map { ["\(max($0, 1)) connections"] } ?? []
    let rate = limits.acceptsPerSecond.map { ["\(max($0, 1)) accepts a second"] } ?? []
    let each = most.isEmpty && rate.isEmpty ? "nothing is limited" : (most + rate).joined(separator: " and ")
    return [
      "sources: \(inUse) of \(limits.tableSize) places in use; for each (IPv4 /\(limits.ipv4Prefix), "
        + "IPv6 /\(limits.ipv6Prefix)): \(each)"
    ]
  }

  private var rate: [String] {
    guard let rate = server.acceptRate else { return [] }
    let most = max(rate.acceptsPerSecond, 1)
    return ["accept rate: \(most) a second, \(max(rate.burst ?? most, 1)) at once"]
  }

  private var acceptQueue: String {
    let length =
      server.isUnix ? "unknown for a UNIX socket" : server.acceptQueue.map { "\($0.length) of \($0.limit)" }
    let now = length ?? "no listening socket"
    let asked =
      server.backlog == .max ? "the longest queue is asked for" : "listenBacklogSize is \(server.backlog)"
    let allowed =
      switch limits.longestAcceptQueue {
      case .success(let most) where server.backlog > most && server.backlog != .max:
        "net.core.somaxconn cuts that to \(most)"
      case .success(let most): "net.core.somaxconn allows \(most)"
      case .failure(let unreadable): "net.core.somaxconn is unknown (\(unreadable.reason))"
      }
    return "accept queue: \(now); \(asked), \(allowed)"
  }

  private var handshakes: String {
    if server.isUnix { return "handshakes: none, a UNIX socket is connected at once" }
    guard case .success(let most) = limits.halfOpenConnections else {
      return "handshakes: unknown (\(reason(limits.halfOpenConnections) ?? ""))"
    }
    return switch limits.synCookies {
    case .success(0): "handshakes: at most net.ipv4.tcp_max_syn_backlog, \(most), and no SYN cookies"
    case .success: "handshakes: as many as the accept queue takes, then SYN cookies"
    case .failure(let unreadable):
      "handshakes: net.ipv4.tcp_max_syn_backlog is \(most); SYN cookies unknown (\(unreadable.reason))"
    }
  }

  private var shards: [String] {
    guard server.hasShards else { return [] }
    return switch limits.migratesRequests {
    case .success(0): ["shards: a socket that closes resets who waits for it; net.ipv4.tcp_migrate_req is 0"]
    case .success:
      ["shards: who waits for a socket that closes goes to another; net.ipv4.tcp_migrate_req is 1"]
    case .failure(let unreadable): ["shards: net.ipv4.tcp_migrate_req is unknown (\(unreadable.reason))"]
    }
  }

  private var memory: String {
    switch limits.memory {
    case .success(nil): "memory: no control group has a limit"
    case .success(let memory?):
      "memory: \(mebibytes(memory.used)) of \(mebibytes(memory.limit)) MiB (\(memory.path)), enough for "
        + "\(memory.left / Self.bytesOfConnection) more idle connections of \(Self.bytesOfConnection / 1024) KiB"
    case .failure(let unreadable): "memory: unknown (\(unreadable.reason))"
    }
  }

  private var processors: String {
    let quota =
      switch limits.processorQuota {
      case .success(nil): "no quota"
      case .success(let quota?): "a quota of \(hundredths(quota))"
      case .failure(let unreadable): "quota unknown (\(unreadable.reason))"
      }
    let loops = server.loops
    let verdict =
      if loops > usableProcessors {
        ": more loops than processors"
      } else if loops < usableProcessors {
        ": \(usableProcessors - loops) left to the rest of the program"
      } else {
        ""
      }
    return
      "processors: \(limits.processors) by affinity, \(quota); \(loops) \(loops == 1 ? "loop" : "loops")\(verdict)"
  }

  // MARK: - The first limit

  private struct Limit {
    let name: String
    /// How many more connections it allows.
    let more: Int
    let consequence: String
  }

  private var firstLimit: String {
    var candidates: [Limit] = []
    if let most = server.maxConnections {
      candidates.append(
        Limit(name: "maxConnections", more: max(most - server.live, 0), consequence: ofExcess)
      )
    }
    if let left = descriptorsLeft {
      candidates.append(Limit(name: "descriptors", more: left, consequence: ofOverload))
    }
    if case .success(let memory?) = limits.memory {
      let more = memory.left / Self.bytesOfConnection
      candidates.append(
        Limit(name: "memory", more: more, consequence: "the kernel ends a process of the group")
      )
    }
    guard let first = candidates.min(by: { $0.more < $1.more }) else { return "unknown" }
    let unknown = [reason(limits.descriptors) ?? reason(limits.openDescriptors), reason(limits.memory)]
      .compactMap { $0 }
    let when = first.more == 0 ? "reached" : "after \(first.more) more connections"
    let rest = unknown.isEmpty ? "" : ", unless one that is unknown comes before"
    return "\(first.name), \(when); then \(first.consequence)\(rest)"
  }

  private var ofExcess: String {
    switch server.excess {
    case .wait: "clients wait in the kernel's queue"
    case .close: "clients are closed at once"
    case .reset: "clients are reset at once"
    }
  }

  private var ofOverload: String {
    switch server.overload {
    case .wait: "accepting pauses and tries again, clients wait in the kernel's queue"
    case .shed: "clients are rejected"
    case .strict: "accepting pauses until resumeAccepting()"
    }
  }

  // MARK: - Values

  /// As the core has it: at most a quarter of the limit.
  private func reserve(below limit: Int) -> Int {
    min(max(server.reserve, 0), limit / 4)
  }

  private var descriptorsLeft: Int? {
    guard let limit = try? limits.descriptors.get(), let open = try? limits.openDescriptors.get() else {
      return nil
    }
    return max(limit.soft - reserve(below: limit.soft) - open, 0)
  }

  private var usableProcessors: Int {
    guard case .success(let quota?) = limits.processorQuota else { return limits.processors }
    return ProcessorSet.usable(of: limits.processors, quota: quota)
  }

  private func reason<Value>(_ reading: ProcessLimits.Reading<Value>) -> String? {
    if case .failure(let unreadable) = reading { unreadable.reason } else { nil }
  }

  private func mebibytes(_ bytes: Int) -> Int {
    bytes >> 20
  }

  private func hundredths(_ number: Double) -> Double {
    (number * 100).rounded() / 100
  }
}
