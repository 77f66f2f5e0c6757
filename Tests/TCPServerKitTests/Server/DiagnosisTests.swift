// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

@testable import TCPServerKit

@Suite("What limits a server, in words", .blocking)
struct DiagnosisTests {
  private static let processors = max(ProcessorSet.allowed().count, 1)

  /// A system whose files are those of a small machine, unless a test has others; nil removes one.
  private func limits(_ changes: [String: String?] = [:]) throws -> ProcessLimits {
    var files: [String: String?] = [
      "proc/self/limits":
        "Limit  Soft  Hard  Units\nMax open files            1024                 4096                 files\n",
      "proc/self/fd/a": "", "proc/self/fd/b": "", "proc/self/fd/c": "",
      "proc/self/cgroup": "0::/service\n",
      "proc/sys/net/core/somaxconn": "4096\n",
      "proc/sys/net/ipv4/tcp_max_syn_backlog": "512\n",
      "proc/sys/net/ipv4/tcp_syncookies": "1\n",
      "proc/sys/net/ipv4/tcp_migrate_req": "0\n",
      "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
      "sys/fs/cgroup/service/cpu.max": "max 100000\n",
      "sys/fs/cgroup/service/memory.max": "max\n",
      "sys/fs/cgroup/service/memory.current": "104857600\n",
    ]
    files.merge(changes) { $1 }
    let root = try TemporaryFolder()
    for (name, text) in files { if let text { try root.write(text, to: name) } }
    return ProcessLimits(root: root.path)
  }

  private func server(
    maxConnections: Int? = 1000,
    excess: ExcessConnectionPolicy = .wait,
    overload: OverloadPolicy = .wait,
    live: Int = 0,
    reserve: Int = 32,
    backlog: Int = .max,
    acceptQueue: (length: Int, limit: Int)? = (3, 4096),
    loops: Int = 1,
    hasShards: Bool = false
  ) -> Diagnostician.Server {
    Diagnostician.Server(
      maxConnections: maxConnections,
      excess: excess,
      overload: overload,
      live: live,
      maxPending: 30,
      pending: 2,
      reserve: reserve,
      backlog: backlog,
      acceptQueue: acceptQueue,
      prefaces: nil,
      isUnix: false,
      loops: loops,
      hasShards: hasShards
    )
  }

  private func diagnosis(_ server: Diagnostician.Server, _ changes: [String: String?] = [:]) throws
    -> TCPServer.Diagnosis
  {
    Diagnostician(server: server, limits: try limits(changes)).diagnosis
  }

  /// The line that begins with a word, without it.
  private func line(_ name: String, _ server: Diagnostician.Server, _ changes: [String: String?] = [:]) throws
    -> String?
  {
    let line = try diagnosis(server, changes).lines.first { $0.hasPrefix(name + ": ") }
    return line.map { String($0.dropFirst(name.count + 2)) }
  }

  @Test("Each limit has a line, and the first limit the last one")
  func lines() throws {
    let diagnosis = try diagnosis(server(loops: Self.processors))
    let loops = Self.processors == 1 ? "1 loop" : "\(Self.processors) loops"
    #expect(
      diagnosis.description == """
        descriptors: 3 of 1024 in use (hard limit 4096), 989 left beside the reserve of 32; maxConnections needs 1000
        connections: 0 of maxConnections, 1000
        pending: 2 of maxPendingConnections, 30
        accept queue: 3 of 4096; the longest queue is asked for, net.core.somaxconn allows 4096
        handshakes: as many as the accept queue takes, then SYN cookies
        memory: no control group has a limit
        processors: \(Self.processors) by affinity, no quota; \(loops)
        first limit: descriptors, after 989 more connections; then accepting pauses and tries again, clients wait in \
        the kernel's queue
        """
    )
    #expect(diagnosis.lines.count == 7)
    #expect(diagnosis.description.hasSuffix("\nfirst limit: " + diagnosis.firstLimit))
  }

  // MARK: - The first limit

  @Test("The first limit is the one that allows the fewest more connections")
  func firstLimit() throws {
    func first(_ server: Diagnostician.Server, _ changes: [String: String?] = [:]) throws -> String {
      try diagnosis(server, changes).firstLimit
    }
    #expect(
      try first(server(maxConnections: 500, live: 20))
        == "maxConnections, after 480 more connections; then clients wait in the kernel's queue"
    )
    #expect(
      try first(server(maxConnections: 500, excess: .close, live: 600))
        == "maxConnections, reached; then clients are closed at once"
    )
    #expect(try first(server(maxConnections: 1, excess: .reset)).hasSuffix("then clients are reset at once"))
    #expect(try first(server(maxConnections: nil)).hasPrefix("descriptors, after 989 more connections; "))
    #expect(try first(server(maxConnections: nil, overload: .shed)).hasSuffix("then clients are rejected"))
    #expect(
      try first(server(maxConnections: nil, overload: .strict))
        .hasSuffix("then accepting pauses until resumeAccepting()")
    )
    // 100 MiB and 80 KiB of 8 KiB for each connection.
    #expect(
      try first(server(), ["sys/fs/cgroup/service/memory.max": "104939520\n"])
        == "memory, after 10 more connections; then the kernel ends a process of the group"
    )
  }

  @Test("It says that one which is unknown might come before, and that nothing is known")
  func unknownLimit() throws {
    let bound = server(maxConnections: 5)
    #expect(
      try diagnosis(bound, ["proc/self/limits": nil]).firstLimit.hasSuffix(
        ", unless one that is unknown comes before"
      )
    )
    #expect(
      try diagnosis(bound, ["proc/self/cgroup": nil]).firstLimit.hasSuffix(
        ", unless one that is unknown comes before"
      )
    )
    #expect(try diagnosis(server(maxConnections: nil), ["proc/self/limits": nil]).firstLimit == "unknown")
  }

  // MARK: - Each line

  @Test("Descriptors: what is in use, and what is left; or why that is unknown")
  func descriptors() throws {
    let few = "Max open files            8   unlimited   files\n"
    #expect(
      try line("descriptors", server(maxConnections: nil), ["proc/self/limits": few])
        == "3 of 8 in use (hard limit \(Int.max)), 3 left beside the reserve of 2; no maxConnections bounds the need"
    )
    #expect(
      try line("descriptors", server(), ["proc/self/limits": nil])
        == "unknown (/proc/self/limits: No such file or directory)"
    )
    #expect(
      try line("descriptors", server(), ["proc/self/limits": "Max processes 5 6\n"])
        == "unknown (/proc/self/limits: no line of Max open files)"
    )
    let none: [String: String?] = ["proc/self/fd/a": nil, "proc/self/fd/b": nil, "proc/self/fd/c": nil]
    #expect(try line("descriptors", server(), none) == "unknown (/proc/self/fd: No such file or directory)")
    #expect(try line("connections", server(maxConnections: nil, live: 4)) == "4, no maxConnections")
  }

  @Test("The accept queue: what is asked for against what the kernel allows")
  func acceptQueue() throws {
    let somaxconn = "proc/sys/net/core/somaxconn"
    #expect(
      try line("accept queue", server(backlog: 50, acceptQueue: (0, 50)))
        == "0 of 50; listenBacklogSize is 50, net.core.somaxconn allows 4096"
    )
    #expect(
      try line("accept queue", server(backlog: 5000, acceptQueue: nil))
        == "no listening socket; listenBacklogSize is 5000, net.core.somaxconn cuts that to 4096"
    )
    #expect(
      try line("accept queue", server(), [somaxconn: nil])
        == "3 of 4096; the longest queue is asked for, "
        + "net.core.somaxconn is unknown (/proc/sys/net/core/somaxconn: No such file or directory)"
    )
    #expect(
      try line("accept queue", server(), [somaxconn: "many\n"])?.hasSuffix("somaxconn: no number)") == true
    )
  }

  @Test("Handshakes: tcp_max_syn_backlog counts where there are no SYN cookies")
  func handshakes() throws {
    let (most, cookies) = ("proc/sys/net/ipv4/tcp_max_syn_backlog", "proc/sys/net/ipv4/tcp_syncookies")
    #expect(
      try line("handshakes", server(), [cookies: "0\n"])
        == "at most net.ipv4.tcp_max_syn_backlog, 512, and no SYN cookies"
    )
    #expect(
      try line("handshakes", server(), [cookies: nil])
        == "net.ipv4.tcp_max_syn_backlog is 512; SYN cookies unknown "
        + "(/proc/sys/net/ipv4/tcp_syncookies: No such file or directory)"
    )
    #expect(
      try line("handshakes", server(), [most: nil])
        == "unknown (/proc/sys/net/ipv4/tcp_max_syn_backlog: No such file or directory)"
    )
  }

  @Test("Shards: what the kernel does with clients of a socket that closes, where there are several")
  func shards() throws {
    let migration = "proc/sys/net/ipv4/tcp_migrate_req"
    #expect(try line("shards", server()) == nil)
    #expect(
      try line("shards", server(hasShards: true))
        == "a socket that closes resets who waits for it; net.ipv4.tcp_migrate_req is 0"
    )
    #expect(
      try line("shards", server(hasShards: true), [migration: "1\n"])
        == "who waits for a socket that closes goes to another; net.ipv4.tcp_migrate_req is 1"
    )
    #expect(
      try line("shards", server(hasShards: true), [migration: nil])
        == "net.ipv4.tcp_migrate_req is unknown (/proc/sys/net/ipv4/tcp_migrate_req: No such file or directory)"
    )
  }

  @Test("Memory: the control group that leaves least, of either version; or why that is unknown")
  func memory() throws {
    let group = "sys/fs/cgroup/service/"
    let mebibyte = 1 << 20
    #expect(
      try line("memory", server(), [group + "memory.max": "\(612 * mebibyte)\n"])
        == "100 of 612 MiB (/sys/fs/cgroup/service/memory.max), enough for 65536 more idle connections of 8 KiB"
    )
    // One above has less left.
    let above = [
      "sys/fs/cgroup/memory.max": "\(200 * mebibyte)\n",
      "sys/fs/cgroup/memory.current": "\(300 * mebibyte)\n",
    ]
    #expect(
      try line("memory", server(), above.merging([group + "memory.max": "\(612 * mebibyte)\n"]) { $1 })
        == "300 of 200 MiB (/sys/fs/cgroup/memory.max), enough for 0 more idle connections of 8 KiB"
    )
    #expect(
      try line(
        "memory",
        server(),
        [group + "memory.max": "\(612 * mebibyte)\n", group + "memory.current": nil]
      )
        == "unknown (/sys/fs/cgroup/service/memory.current: No such file or directory)"
    )
    #expect(
      try line("memory", server(), ["proc/self/cgroup": "0::/\n"]) == "no control group has a limit",
      "the topmost group has no such file"
    )
    #expect(
      try line("memory", server(), ["proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cgroup.controllers": nil])
        == "unknown (/sys/fs/cgroup/memory.max: No such file or directory)"
    )
    #expect(try line("memory", server(), ["proc/self/cgroup": ""]) == "unknown (/proc/self/cgroup: no group)")
    #expect(
      try line("memory", server(), ["proc/self/cgroup": nil])
        == "unknown (/proc/self/cgroup: No such file or directory)"
    )
  }

  @Test("Memory of version 1, whose largest number is no limit")
  func memoryOfVersion1() throws {
    let group = "sys/fs/cgroup/memory/service/"
    let lines = "4:memory:/service\n1:cpu:/service\n"
    #expect(
      try line(
        "memory",
        server(),
        [
          "proc/self/cgroup": lines, group + "memory.limit_in_bytes": "\(64 << 20)\n",
          group + "memory.usage_in_bytes": "\(63 << 20)\n",
        ]
      ) == "63 of 64 MiB (/sys/fs/cgroup/memory/service/memory.limit_in_bytes), "
        + "enough for 128 more idle connections of 8 KiB"
    )
    #expect(
      try line(
        "memory",
        server(),
        ["proc/self/cgroup": lines, group + "memory.limit_in_bytes": "9223372036854771712\n"]
      ) == "no control group has a limit"
    )
  }

  @Test("Processors: affinity and quota against the number of loops")
  func processors() throws {
    let quota = "sys/fs/cgroup/service/cpu.max"
    let all = Self.processors
    #expect(
      try line("processors", server(loops: 2), [quota: "50000 100000\n"])
        == "\(all) by affinity, a quota of 0.5; 2 loops: more loops than processors"
    )
    #expect(
      try line("processors", server(loops: 1), [quota: "100000 100000\n"])
        == "\(all) by affinity, a quota of 1.0; 1 loop"
    )
    #expect(
      try line("processors", server(loops: 1), [quota: "\(Int.max) 1\n"])?.hasSuffix(
        all == 1 ? "1 loop" : "1 loop: \(all - 1) left to the rest of the program"
      ) == true
    )
    #expect(
      try line("processors", server(), ["proc/self/cgroup": nil])?
        .contains("quota unknown (/proc/self/cgroup: No such file or directory)") == true
    )
  }

  // MARK: - Of a server

  @Test("A server's own settings and numbers are in it, and the system's as they are")
  func ofServer() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    server.maxConnections = 7
    server.maxPendingConnections = 3
    server.listenBacklogSize = 5
    #expect(
      server.diagnose().lines.contains {
        $0.hasPrefix("accept queue: no listening socket; listenBacklogSize is 5,")
      }
    )
    #expect(server.listen(address: .localHost))
    let clients = (0..<2).compactMap { _ in PlainClient(port: server.serverPort) }
    #expect(loop.run { server.statistics.pending == 2 })
    let diagnosis = server.diagnose()
    #expect(diagnosis.lines.contains("connections: 2 of maxConnections, 7"))
    #expect(diagnosis.lines.contains("pending: 2 of maxPendingConnections, 3"))
    #expect(diagnosis.lines.contains { $0.hasPrefix("accept queue: 0 of 5; listenBacklogSize is 5,") })
    #expect(
      diagnosis.firstLimit
        == "maxConnections, after 5 more connections; then clients wait in the kernel's queue"
    )
    var limit = rlimit()
    #expect(unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
    #expect(diagnosis.lines[0].contains(" of \(limit.rlim_cur) in use (hard limit \(limit.rlim_max)), "))
    #expect(clients.count == 2)
    server.close()
    server.listenBacklogSize = 0
    #expect(server.listen(address: .localHost))
    #expect(
      server.diagnose().lines.contains { $0.hasPrefix("accept queue: 0 of 0; listenBacklogSize is 0,") }
    )
  }
}
