// SPDX-License-Identifier: Apache-2.0

import Dispatch
import Glibc
import TCPServerKit

@MainActor private final class State {
  static var count = 0
}

@_silgen_name("event_base_new") private func eventBaseNew() -> OpaquePointer?
@_silgen_name("event_base_loop") private func eventBaseLoop(_ base: OpaquePointer, _ flags: CInt) -> CInt

/// The first program of README.md, in which a handler and the top level start tasks.
func mainThreadTasks() throws {
  let loop = try EventBase()
  let server = TCPServer()
  server.newConnection.connect {
    guard let socket = server.nextPendingConnection() else { return }
    socket.disconnectFromHost()
    Task { @MainActor in
      State.count += 1
      say("handler's task")
      DispatchQueue.main.async {
        say("main queue")
        loop.stop()
      }
    }
  }
  Task { @MainActor in say("top level's task") }
  guard server.listen(address: .localHost) else { return say(server.errorString) }
  let client = TCPSocket()
  client.connectToHost(.localHost, port: server.serverPort)
  loop.run()
}

/// A served handler that asks the main actor, whose handlers the loop may call.
func mainThreadBody() throws {
  dup2(STDOUT_FILENO, STDERR_FILENO)
  let counted = try EventBase().run {
    let server = TCPServer()
    guard server.listen(address: .localHost) else { return 0 }
    let client = TCPSocket()
    try await client.connect(to: "127.0.0.1", port: server.serverPort)
    try await client.write("x\n")
    guard let socket = try await server.accept(), try await socket.readLine() != nil else { return 0 }
    let count = await MainActor.run {
      let signal = Signal<Void>()
      signal.connect { State.count += 1 }
      signal.emit()
      return State.count
    }
    await Task { @MainActor in
      try? await Task.sleep(for: .milliseconds(1))
      State.count += 1
    }.value
    return count + (await State.count)
  }
  say("counted \(counted)")
}

/// A program that turns the loop itself.
func mainThreadTurns() throws {
  let loop = try EventBase()
  nonisolated(unsafe) var isDone = false
  Task { @MainActor in
    unsafe isDone = true
    say("task")
  }
  while unsafe !isDone {
    loop.runOnce()
  }
}

/// A program that runs libevent itself.
func mainThreadAdopted() throws {
  guard let raw = unsafe eventBaseNew() else { return }
  let loop = unsafe try EventBase(adopting: raw)
  nonisolated(unsafe) var isDone = false
  Task { @MainActor in
    unsafe isDone = true
    say("task; current: \(EventBase.current === loop)")
  }
  while unsafe !isDone {
    unsafe _ = eventBaseLoop(raw, 1)
  }
}

/// A loop that goes from the main thread to another one does not take the main actor with it.
func mainThreadMoves() throws {
  let loop = try EventBase()
  loop.runOnce(timeout: .zero)
  var thread = pthread_t()
  let context = unsafe Unmanaged.passRetained(loop).toOpaque()
  let main = pthread_self()
  Task { @MainActor in
    say("on the main thread: \(pthread_self() == main)")
  }
  unsafe pthread_create(
    &thread,
    nil,
    { context in
      if let context = unsafe context as UnsafeMutableRawPointer? {
        unsafe Unmanaged<EventBase>.fromOpaque(context).takeRetainedValue().run()
      }
      return nil
    },
    context
  )
  let other = try EventBase()
  pthread_detach(thread)
  // Until then this thread runs nothing: only the other one could run the task.
  let hasTurned = DispatchSemaphore(value: 0)
  loop.schedule(after: .milliseconds(20)) { hasTurned.signal() }
  hasTurned.wait()
  // Behind the task that was there before.
  Task { @MainActor in other.stop() }
  other.run()
}

private func runLoop() {
  do {
    try EventBase().run {}
  } catch {
    say("\(error)")
  }
}

/// A loop that the main queue runs cannot have it served.
func inMainQueue() throws {
  // Ends at once, and not after a backtrace.
  for trap in [SIGILL, SIGTRAP] {
    signal(trap, SIG_DFL)
  }
  Task { @MainActor in
    runLoop()
  }
  dispatchMain()
}

/// How much an idle loop does on the main thread.
func idle() throws {
  let loop = try EventBase()
  loop.schedule(after: .milliseconds(300)) { loop.stop() }
  // RUSAGE_THREAD, which the C library hides without _GNU_SOURCE: a sanitizer has a thread that wakes up by itself.
  let thisThread = __rusage_who_t(1)
  var before = rusage()
  unsafe getrusage(thisThread, &before)
  loop.run()
  var after = rusage()
  unsafe getrusage(thisThread, &after)
  say("woke \(after.ru_nvcsw - before.ru_nvcsw < 20 ? "rarely" : "often")")
}
