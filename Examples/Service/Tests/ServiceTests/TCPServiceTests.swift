// SPDX-License-Identifier: Apache-2.0

import Glibc
import Logging
import ProgramTesting
import ServiceLifecycle
import Synchronization
import TCPServerKit
import TCPServerKitService
import Testing

@Suite("TCPService", .blocking, .timeLimit(.minutes(5)))
struct TCPServiceTests {
  @Test("A service serves, and returns from run() after a graceful shutdown")
  func serves() async throws {
    try await whileRunning(.local) { service, port in
      #expect(try await service.waitUntilListening().address == .localHost)
      #expect(service.isReady)
      _ = try exchange(port: port)
    }
  }

  @Test("The server of a service can be asked while it listens")
  func server() async throws {
    let service = TCPService(.local, handler: echo)
    #expect(service.server == nil)
    let running = Task { try await service.run() }
    let port = try await service.waitUntilListening().port
    let client = try exchange(port: port)
    let server = try #require(service.server)
    #expect(server.serverPort == port)
    let snapshot = await server.snapshot()
    #expect(snapshot.loops.flatMap(\.connections).map(\.peerPort) == [client.localPort])
    running.cancel()
    try await running.value
    #expect(service.server == nil)
  }

  @Test("run() throws why it could not listen, and so does waitUntilListening()")
  func bindError() async throws {
    try await whileRunning(.local) { _, port in
      var taken = TCPServiceConfiguration.local
      taken.port = port
      let service = TCPService(taken, handler: echo)
      let waiting = Task { try await service.waitUntilListening() }
      await #expect(throws: SocketError.addressInUse) { try await service.run() }
      await #expect(throws: SocketError.addressInUse) { try await waiting.value }
      #expect(!service.isReady)
    }
  }

  @Test("While a shutdown is announced the service is not ready, and accepts")
  func announced() async throws {
    var configuration = TCPServiceConfiguration.local
    configuration.shutdownDelay = .seconds(3600)
    let service = TCPService(configuration, handler: echo)
    let group = ServiceGroup(
      services: [service],
      logger: .none
    )
    let running = Task { try await group.run() }
    let port = try await service.waitUntilListening().port
    await group.triggerGracefulShutdown()
    try await until { !service.isReady }
    _ = try exchange(port: port)
    running.cancel()
    _ = await running.result
  }

  @Test("With an idle time an idle connection is answered once more when the service shuts down")
  func idleTime() async throws {
    var configuration = TCPServiceConfiguration.local
    configuration.shutdownIdleTime = .seconds(3600)
    configuration.shutdownTimeout = .seconds(7200)
    let service = TCPService(configuration, handler: echo)
    let group = ServiceGroup(services: [service], logger: .none)
    let running = Task { try await group.run() }
    let client = try exchange(port: try await service.waitUntilListening().port)
    await group.triggerGracefulShutdown()
    try await until { !service.isReady }
    // Longer than a connection is silent that is taken for one between two messages.
    try await Task.sleep(for: .milliseconds(600))
    #expect(client.send(Array("ping\n".utf8)))
    #expect(client.receive(5) == Array("ping\n".utf8))
    #expect(client.isEnded())
    try await running.value
  }

  @Test("A cancelled service ends at once, and its handlers are cancelled")
  func cancelled() async throws {
    let hasBegun = Atomic(false)
    let wasCancelled = Atomic(false)
    let service = TCPService(.local) { socket in
      hasBegun.store(true, ordering: .relaxed)
      do { _ = try await socket.readLine() } catch {
        wasCancelled.store(error is CancellationError, ordering: .relaxed)
      }
    }
    let running = Task { try await service.run() }
    let client = Connection(port: try await service.waitUntilListening().port)
    try await until { hasBegun.load(ordering: .relaxed) }
    running.cancel()
    try await running.value
    let isCancelled = wasCancelled.load(ordering: .relaxed)
    #expect(isCancelled)
    #expect(client?.isEnded() == true)
    await #expect(throws: SocketError.operation) { try await service.waitUntilListening() }
  }

  @Test("A service that runs cannot run once more; one that has ended can")
  func again() async throws {
    try await whileRunning(.local) { service, _ in
      await #expect(throws: SocketError.operation) { try await service.run() }
      #expect(service.isReady)
    }
    let service = TCPService(.local, handler: echo)
    for _ in 0..<2 {
      let running = Task { try await service.run() }
      try await until { service.isReady }
      _ = try exchange(port: try await service.waitUntilListening().port)
      running.cancel()
      try await running.value
    }
  }

  @Test("A wait for a service that never runs ends by cancellation")
  func cancelledWait() async throws {
    let service = TCPService(.local, handler: echo)
    for isLate in [true, false] {
      let waiting = Task { try await service.waitUntilListening() }
      if isLate { await Task.yield() }
      waiting.cancel()
      await #expect(throws: CancellationError.self) { try await waiting.value }
    }
  }

  @Test("A listening socket that was inherited is used in place of address and port")
  func inherited() async throws {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    #expect(listen(descriptor, 10) == 0)
    var configuration = TCPServiceConfiguration.local
    configuration.inheritedSockets = [descriptor]
    try await whileRunning(configuration) { _, port in
      #expect(port == Connection(descriptor: dup(descriptor)).localPort)
      _ = try exchange(port: port)
    }
  }

  @Test("Handlers find the task-local values of the task that runs the service")
  func taskLocals() async throws {
    let found = Mutex("")
    try await Trace.$id.withValue("abc") {
      try await whileRunning(.local, handler: { _ in found.withLock { $0 = Trace.id } }) { _, port in
        #expect(Connection(port: port)?.isEnded() == true)
      }
    }
    #expect(found.withLock { $0 } == "abc")
  }

  @Test("A service touches no signals")
  func signals() async throws {
    func handlers() -> [UInt] {
      (1..<32).map { (signal: Int32) in
        var action = sigaction()
        sigaction(signal, nil, &action)
        return unsafeBitCast(action.__sigaction_handler.sa_handler, to: UInt.self)
      }
    }
    let before = handlers()
    try await whileRunning(.local) { _, port in
      _ = try exchange(port: port)
      #expect(handlers() == before)
    }
  }
}

private enum Trace {
  @TaskLocal static var id = ""
}
