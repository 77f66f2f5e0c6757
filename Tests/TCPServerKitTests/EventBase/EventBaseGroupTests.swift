// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import Synchronization
import Testing

@testable import TCPServerKit

@Suite("Loops on several threads", .timeLimit(.minutes(5)))
struct EventBaseGroupTests {
  private struct Failed: Error {}

  private static func thread() -> UInt {
    pthread_self()
  }

  @Test("Each loop has a thread of its own; the body runs on the first, and its result is returned")
  func threads() async throws {
    let threads = try await EventBaseGroup.withThreads(loops: 3) { group in
      #expect(EventBase.current === group.eventBases[0])
      #expect(group.acceptingEventBase === group.eventBases[0])
      var threads: [UInt] = []
      for base in group.eventBases {
        threads.append(await base.engine.run { Self.thread() })
      }
      return threads
    }
    #expect(Set(threads).count == 3)
    await #expect(throws: Failed.self) {
      try await EventBaseGroup.withThreads(loops: 2) { _ in throw Failed() }
    }
    let count = try await EventBaseGroup.withThreads { $0.eventBases.count }
    #expect(count == ProcessorSet.usableCount())
    #expect(try await EventBaseGroup.withThreads(loops: 0) { $0.eventBases.count } == 1)
  }

  @Test("run() has the first loop on the caller's thread", .blocking)
  func runs() throws {
    let thread = Self.thread()
    let result = try EventBaseGroup.run(loops: 2, accepting: .ownThread) { group in
      #expect(Self.thread() == thread)
      #expect(group.eventBases.count == 2)
      return 7
    }
    #expect(result == 7)
    #expect(throws: Failed.self) { try EventBaseGroup.run(loops: 2) { _ in throw Failed() } }
  }

  @Test("stop() ends none of the loops: the body does")
  func stop() async throws {
    try await onLoops(2, accepting: .ownThread) { group in
      for base in group.eventBases + [group.acceptingEventBase] {
        let thread = await base.engine.run { Self.thread() }
        for _ in 0..<10 {
          base.stop()
          try await base.sleep(for: .zero)
          #expect(await base.engine.run { Self.thread() } == thread)
        }
      }
    }
  }

  @Test("Pinned, each thread has one processor; the caller's has those that it had before", .blocking)
  func pinning() throws {
    let before = ProcessorSet.allowed()
    try EventBaseGroup.run(loops: 2, pinning: .oneCPUEach, accepting: .ownThread) { group in
      var cpus: [[Int]] = []
      for base in group.eventBases {
        cpus.append(await base.engine.run { ProcessorSet.allowed() })
      }
      #expect(cpus == [[before[0]], [before[1 % before.count]]])
      let accepting = await group.acceptingEventBase.engine.run { ProcessorSet.allowed() }
      #expect(accepting.isEmpty == false)
    }
    #expect(ProcessorSet.allowed() == before)
  }

  @Test("Without descriptors for all loops nothing is left of those that were started", .blocking)
  func resources() throws {
    let ran = Counter()
    fault_fail(FAULT_EVENTFD, 1, -1, EMFILE)
    defer { fault_clear() }
    #expect(throws: SocketError.socketResource) {
      try EventBaseGroup.run(loops: 2) { _ in ran.increment() }
    }
    #expect(ran.value == 0)
  }

  // MARK: - How many processors

  private func count(cgroup: String, _ files: [String: String]) throws -> Int {
    let root = try TemporaryFolder()
    try root.write(cgroup, to: "proc/self/cgroup")
    for (name, text) in files { try root.write(text, to: "sys/fs/cgroup/" + name) }
    return ProcessorSet.usableCount(root: root.path)
  }

  @Test("The quota of a control group counts, also one above the process's own")
  func quota() throws {
    let all = ProcessorSet.allowed().count
    #expect(try count(cgroup: "", [:]) == all)
    #expect(try count(cgroup: "0::/a/b\n", ["a/b/cpu.max": "max 100000\n"]) == all)
    #expect(try count(cgroup: "0::/a/b\n", ["a/b/cpu.max": "50000 100000\n"]) == 1)
    #expect(try count(cgroup: "0::/a/b\n", ["a/cpu.max": "100000 100000\n"]) == 1)
    #expect(try count(cgroup: "0::/a\n", ["cpu.max": "100000 100000\n"]) == 1)
    #expect(try count(cgroup: "0::/\n", ["cpu.max": "150000 100000\n"]) == min(all, 2))
    #expect(try count(cgroup: "0::/\n", ["cpu.max": "99900000 100000\n"]) == all)
    #expect(try count(cgroup: "0::/\n", ["cpu.max": "nonsense\n"]) == all)
    let version1 = "3:cpu,cpuacct:/a\n1:name=systemd:/a\nwrong\n"
    #expect(
      try count(cgroup: version1, ["cpu/a/cpu.cfs_quota_us": "-1\n", "cpu/a/cpu.cfs_period_us": "100000\n"])
        == all
    )
    #expect(
      try count(
        cgroup: version1,
        ["cpu/a/cpu.cfs_quota_us": "50000\n", "cpu/a/cpu.cfs_period_us": "100000\n"]
      ) == 1
    )
  }
}
