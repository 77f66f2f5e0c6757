// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit

/// A handler that never comes back.
private func hang() -> Never {
  say("stuck")
  while true {
    usleep(10_000)
  }
}

func stuck(stopping: Bool) throws {
  let loop = try EventBase()
  let shutdown = GracefulShutdown()
  // Three: where the thread sanitizer holds a signal back, another of its kind is lost.
  let isTaken =
    stopping
    ? loop.stopOnSignals(SIGHUP, SIGINT, SIGTERM) : shutdown.beginOnSignals(SIGHUP, SIGINT, SIGTERM)
  guard isTaken else { return say("not taken") }
  loop.execute { hang() }
  loop.run()
}

/// A body that does not hear of its cancellation.
func stuckBody() throws {
  let loop = try EventBase()
  guard loop.stopOnSignals(SIGHUP, SIGINT, SIGTERM) else { return say("not taken") }
  try loop.run {
    say("stuck")
    unsafe await withUnsafeContinuation { (_: UnsafeContinuation<Void, Never>) in }
  }
}

/// A handler that comes back when SIGUSR1 does.
func busyAtReload() throws {
  let loop = try EventBase()
  let program = SuccessorProgram(path: "/bin/true")
  guard program.startOnSignals(SIGHUP, eventBase: loop) else { return say("not taken") }
  @Sendable func wanted() -> sigset_t {
    var wanted = sigset_t()
    unsafe sigemptyset(&wanted)
    unsafe sigaddset(&wanted, SIGUSR1)
    return wanted
  }
  var blocked = wanted()
  unsafe pthread_sigmask(SIG_BLOCK, &blocked, nil)
  loop.execute {
    say("stuck")
    var wanted = wanted()
    var came: CInt = 0
    unsafe sigwait(&wanted, &came)
    say("goes on")
  }
  loop.run()
}

/// Two loops and three shutdowns that ask for the same signal.
func twoLoops() throws {
  let shutdown = GracefulShutdown()
  try EventBase().run {
    let shared = GracefulShutdown()
    shutdown.beginOnSignals(SIGTERM)
    shared.beginOnSignals(SIGTERM, timeout: .seconds(1000))
    async let other = EventBase.withThread { loop in
      let second = GracefulShutdown()
      let isTaken = second.beginOnSignals(SIGTERM) && shared.beginOnSignals(SIGTERM, timeout: .seconds(1000))
      say("ready \(isTaken)")
      await second.waitUntilBegun()
      await shared.waitUntilBegun()
      say("second begun")
    }
    await shutdown.waitUntilBegun()
    await shared.waitUntilBegun()
    try await other
    say("first begun")
    // One signal, heard by two loops for one shutdown, is no second one.
    let end = Task { await shared.waitUntilDeadline() }
    try await Task.sleep(for: .milliseconds(50))
    end.cancel()
    say("shared begun \(shared.hasBegun)")
  }
}

/// Signals that a loop hears do not count, however many.
func answered() throws {
  let loop = try EventBase()
  loop.stopOnSignals(SIGTERM)
  for number in 1...6 {
    kill(getpid(), SIGTERM)
    loop.run()
    say("stopped \(number)")
  }
}

/// A child of fork() has its parent's handlers, but no loop: the signal ends it, and the parent does not hear of it.
func signalInChild() throws {
  let loop = try EventBase()
  loop.stopOnSignals(SIGTERM)
  let child = forkedChild()
  guard child > 0 else {
    while true { usleep(10_000) }
  }
  var status: CInt = 0
  kill(child, SIGTERM)
  unsafe waitpid(child, &status, 0)
  say("child ended by \(status & 0x7f)")
  loop.schedule(after: .milliseconds(20)) { say("parent goes on") }
  loop.schedule(after: .milliseconds(40)) { loop.stop() }
  loop.run()
}

@_silgen_name("fork") private func forkedChild() -> pid_t

/// With the last event base that asked for it, a signal does again what it did before.
func restored() throws {
  do {
    let one = try EventBase()
    let two = try EventBase()
    one.stopOnSignals(SIGUSR1)
    two.stopOnSignals(SIGUSR1, SIGUSR2)
  }
  for signal in [SIGUSR1, SIGUSR2] {
    var action = sigaction()
    unsafe sigaction(signal, nil, &action)
    say("default \(unsafe action.__sigaction_handler.sa_handler == nil)")
  }
  kill(getpid(), SIGUSR1)
}
