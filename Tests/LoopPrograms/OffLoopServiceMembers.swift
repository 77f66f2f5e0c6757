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

/// What a process has to do with its service manager.
let serviceMembers: [Member] = [
  ofSockets("fromEnvironment()") { _ in },
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
  anywhere("ServiceNotifier.pingWatchdog(whileAnswering:)") {
    try await EventBaseGroup.withThreads(loops: 1) { await notifier?.pingWatchdog(whileAnswering: $0) }
  },
]
