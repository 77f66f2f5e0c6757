// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

/// Whose thread an event_base has that C code runs.
@Suite("Threads of an adopted event_base", .blocking, .timeLimit(.minutes(5)))
struct AdoptedLoopTests {
  private actor Pinned {
    private let executor: any SerialExecutor
    var calls = 0

    init(_ base: EventBase) {
      executor = base.serialExecutor
    }

    nonisolated var unownedExecutor: UnownedSerialExecutor {
      unsafe executor.asUnownedSerialExecutor()
    }

    func add() {
      calls += 1
    }
  }

  private final class Scene {
    // Released in this order: the event_base last, to which the others refer.
    let actor: Pinned
    let base: EventBase
    let plain: EventBaseTests.PlainBase

    init() throws {
      plain = try EventBaseTests.PlainBase()
      base = unsafe try EventBase(adopting: plain.base)
      actor = Pinned(base)
    }
  }

  @Test("In a job, an actor of the loop is isolated")
  func job() throws {
    let scene = try Scene()
    let isolated = Counter()
    scene.base.execute { [base = scene.base, actor = scene.actor] in
      if base.serialExecutor.isIsolatingCurrentContext() == true { isolated.increment() }
      actor.assumeIsolated { $0.calls += 1 }
      isolated.increment()
    }
    #expect(scene.plain.run { isolated.value == 2 })
    #expect(scene.base.serialExecutor.isIsolatingCurrentContext() == false)
    withExtendedLifetime(scene) {}
  }

  @Test("So it is in every handler: of a server, a socket, a timer, and of schedule()")
  func handlers() throws {
    let scene = try Scene()
    try Self.note(scene)
    withExtendedLifetime(scene) {}
  }

  private static func note(_ scene: Scene) throws {
    let (base, actor) = (scene.base, scene.actor)
    var isolated: [String] = []
    func note(_ name: String) {
      actor.assumeIsolated { $0.calls += 1 }
      if EventBase.current === base { isolated.append(name) }
    }
    let server = TCPServer(eventBase: base)
    #expect(server.listen(address: .localHost))
    server.admissionHandler = { _, _ in
      note("admission")
      return .admit
    }
    server.newConnection.connect { [unowned server] in
      note("newConnection")
      let socket = server.nextPendingConnection()
      socket?.readyRead.connect {
        note("readyRead")
        socket?.write("y")
      }
      socket?.bytesWritten.connect { _ in note("bytesWritten") }
    }
    let timer = EventTimer(interval: .milliseconds(1), isSingleShot: true, eventBase: base)
    timer.timeout.connect { note("timeout") }
    timer.start()
    base.afterOnThisThread(.milliseconds(1)) { note("after") }
    let peer = try #require(PlainClient(to: server))
    peer.send("x")
    #expect(scene.plain.run { Set(isolated).count == 6 })
    server.close()
  }

  @Test("A task and an actor of the loop run where C code runs it, and it is theirs alone")
  func otherThread() throws {
    let scene = try Scene()
    let done = Flag()
    // Until the loop runs, it belongs to this thread.
    let signal = Signal<Void>(eventBase: scene.base)
    signal.connect {}
    let thread = Shared("")
    Task(executorPreference: scene.base.taskExecutor) { [actor = scene.actor] in
      thread.value = OtherThread.currentID
      await actor.add()
      done.set()
    }
    let (plain, ran) = (scene.plain, Shared(""))
    nonisolated(unsafe) let loop = plain
    OtherThread {
      ran.value = OtherThread.currentID
      _ = unsafe loop.run { done.isSet }
    }.join()
    #expect(done.isSet && thread.value == ran.value)
    withExtendedLifetime(scene) {}
  }
}
