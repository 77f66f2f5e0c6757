// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit

/// With a manager that does not exist, so that every message fails.
private let notifier: ServiceNotifier? = {
  unsafe setenv("NOTIFY_SOCKET", "@tcpserverkit-has-no-manager", 1)
  return ServiceNotifier()
}()

private func anywhere(_ name: String, _ call: @escaping @Sendable () async throws -> Void) -> Member {
  Member(name: name, threadClass: .anywhere, call: .async { _ in try await call() })
}

private func ofSockets(_ name: String, _ call: @escaping @Sendable (InheritedSockets) -> Void) -> Member {
  anywhere("InheritedSockets.\(name)") { call(try InheritedSockets.fromEnvironment()) }
}

private func ofNotifier(
  _ name: String,
  _ call: @escaping @Sendable (ServiceNotifier) async -> Void
) -> Member {
  anywhere("ServiceNotifier.\(name)") { if let notifier { await call(notifier) } }
}

/// From this process to itself.
private func handOver(
  _ body: @escaping @Sendable (Predecessor, Task<Successor, any Error>) async throws -> Void
) async throws {
  let path = "/tmp/tcpserverkit-\(getpid())"
  let waiting = Task { try await Successor.waitUntilReady(for: [:], at: path) }
  defer {
    waiting.cancel()
    unsafe unlink(path)
  }
  var predecessor: Predecessor?
  while predecessor == nil {
    predecessor = try await Predecessor.takeOver(at: path, into: InheritedSockets())
  }
  if let predecessor { try await body(predecessor, waiting) }
}

/// What a process has to do with its service manager.
let serviceMembers: [Member] = [
  ofSockets("fromEnvironment()") { _ in },
  ofSockets("init()") { _ in _ = InheritedSockets() },
  ofSockets("names") { _ = $0.names },
  ofSockets("takeDescriptor(named:)") { _ = $0.takeDescriptor(named: "http") },
  ofSockets("closeRest()") { $0.closeRest() },
  ofNotifier("init()") { _ in _ = ServiceNotifier() },
  ofNotifier("watchdogInterval") { _ = $0.watchdogInterval },
  ofNotifier("ready(status:)") { $0.ready(status: "Serving") },
  ofNotifier("status(_:)") { $0.status("Serving") },
  ofNotifier("reloading()") { $0.reloading() },
  ofNotifier("stopping()") { $0.stopping() },
  ofNotifier("mainProcess(_:)") { $0.mainProcess(getpid()) },
  ofNotifier("extendTimeout(by:)") { $0.extendTimeout(by: .seconds(1)) },
  ofNotifier("store(_:name:)") { $0.store(STDIN_FILENO, name: "http") },
  ofNotifier("removeStored(name:)") { $0.removeStored(name: "http") },
  ofNotifier("barrier(timeout:)") { await $0.barrier(timeout: .zero) },
  ofNotifier("pingWatchdog(whileAnswering:)") { await $0.pingWatchdog(whileAnswering: []) },
  anywhere("Predecessor.takeOver(at:into:)") { try await handOver { _, _ in } },
  anywhere("Predecessor.process") { try await handOver { predecessor, _ in _ = predecessor.process } },
  anywhere("Predecessor.ready()") {
    try await handOver { predecessor, waiting in
      try predecessor.ready()
      _ = try await waiting.value
    }
  },
  anywhere("Predecessor.values") { try await handOver { predecessor, _ in _ = predecessor.values } },
  anywhere("Predecessor.waitUntilDrained()") {
    try await handOver { predecessor, waiting in
      try predecessor.ready()
      try await waiting.value.drained(ServingReport())
      _ = try await predecessor.waitUntilDrained()
    }
  },
  anywhere("Successor.waitUntilReady(for:at:timeout:starting:values:)") { try await handOver { _, _ in } },
  anywhere("Successor.drained(_:)") {
    try await handOver { predecessor, waiting in
      try predecessor.ready()
      try await waiting.value.drained(ServingReport())
    }
  },
  anywhere("SuccessorProgram.init(path:arguments:timeout:onFailure:)") {
    _ = SuccessorProgram(path: "/bin/true")
  },
  anywhere("SuccessorProgram.process") { _ = SuccessorProgram(path: "/bin/true").process },
  anywhere("SuccessorProgram.start()") { try SuccessorProgram(path: "/bin/true").start() },
  anywhere("SuccessorProgram.startOnSignals(_:eventBase:)") {
    SuccessorProgram(path: "/bin/true").startOnSignals(SIGHUP, eventBase: nil)
  },
  anywhere("Successor.process") {
    try await handOver { predecessor, waiting in
      try predecessor.ready()
      _ = try await waiting.value.process
    }
  },
  anywhere("ServiceNotifier.pingWatchdog(whileAnswering:)") {
    try await EventBaseGroup.withThreads(loops: 1) { await notifier?.pingWatchdog(whileAnswering: $0) }
  },
]
