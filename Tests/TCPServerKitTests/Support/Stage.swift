// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import Synchronization
import TCPServerKit
import Testing

/// Where a program is called: a handler, an override, or a task that goes on.
enum Place: String, CaseIterable {
  case newConnection, newConnectionOfWait, incoming, incomingOfWait, afterIncoming
  case acceptError, acceptErrorOfWait, strictAcceptError, acceptErrorOfResume, brokenListener,
    brokenListenerOfWait
  case waitInNewConnection, waitInIncoming, waitInAcceptError
  case readyRead, bytesWritten, readChannelFinished, disconnected, errorOccurred, job
  case admission, rejection
  case afterAccept, servingHandler, connectionOfSequence, jobWhileAccepting

  var isAsync: Bool {
    [.afterAccept, .servingHandler, .connectionOfSequence, .jobWhileAccepting].contains(self)
  }

  /// Whether the listening socket is broken before the place is reached.
  var isBroken: Bool {
    [.brokenListener, .brokenListenerOfWait].contains(self)
  }

  /// Whether it is reached by `waitForNewConnection()` and not by the loop.
  var waits: Bool {
    [.newConnectionOfWait, .incomingOfWait, .acceptErrorOfWait, .brokenListenerOfWait].contains(self)
  }
}

/// A loop and a server with no other reference to them, so that a handler can release both, and three clients.
final class Stage {
  var base: EventBase?
  var server: OverridingServer?
  var sockets: [TCPSocket] = []
  private(set) var clients: [PlainClient] = []
  private(set) var hasOperated = false
  /// Atomic: without its loop the task ends on a thread of the pool.
  private let taskHasEnded = Atomic(false)
  private var task: Task<Void, any Error>?
  private var depth = 0
  private let place: Place
  private let operation: Operation

  init(_ place: Place, _ operation: Operation) throws {
    self.place = place
    self.operation = operation
    let base = try EventBase()
    let server = OverridingServer(eventBase: base)
    self.base = base
    self.server = server
    try #require(server.listen(address: .localHost), "\(server.errorString)")
    for _ in 0..<3 { clients.append(try #require(PlainClient(to: server))) }
    lead(to: place, server, base)
  }

  deinit {
    fault_clear()
  }

  private func operate() {
    guard !hasOperated else { return }
    hasOperated = true
    operation.perform(on: self)
  }

  /// Operates in the second call on the stack; the first one waits.
  private func operateDeeply() {
    guard depth == 0 else { return operate() }
    depth += 1
    takeAll()
    server?.waitForNewConnection()
    depth -= 1
  }

  /// Waits within a handler, in slices: a wait goes on where the operation takes what has come.
  private func waitUntilOperated() {
    let deadline = ContinuousClock.now + Loop.limit
    while !hasOperated, ContinuousClock.now < deadline {
      server?.waitForNewConnection(msec: 20)
    }
  }

  func takeAll() {
    while let socket = server?.nextPendingConnection() { sockets.append(socket) }
  }

  // MARK: - The way to the place

  private func lead(to place: Place, _ server: OverridingServer, _ base: EventBase) {
    switch place {
    case .newConnection, .newConnectionOfWait: server.newConnection.connect { [unowned self] in operate() }
    case .waitInNewConnection: server.newConnection.connect { [unowned self] in operateDeeply() }
    case .incoming, .incomingOfWait, .afterIncoming, .waitInIncoming: leadToIncoming(server)
    case .acceptError, .acceptErrorOfWait, .strictAcceptError, .acceptErrorOfResume, .waitInAcceptError:
      leadToAcceptError(server)
    case .brokenListener, .brokenListenerOfWait:
      server.acceptError.connect { [unowned self] _ in operate() }
      shutdown(server.socketDescriptor, CInt(SHUT_RDWR))
    case .admission:
      server.admissionHandler = { [unowned self] _, _ in
        operate()
        return .admit
      }
    case .rejection:
      server.admissionHandler = { [unowned self] _, _ in hasOperated ? .admit : .close }
      server.connectionRejected.connect { [unowned self] _ in operate() }
    case .readyRead, .bytesWritten, .readChannelFinished, .disconnected, .errorOccurred:
      server.newConnection.connect { [unowned self] in leadToSignal() }
    case .job:
      nonisolated(unsafe) unowned let stage = self
      base.execute { unsafe stage.operate() }
    case .afterAccept, .servingHandler, .connectionOfSequence, .jobWhileAccepting: startTask(server, base)
    }
  }

  private func leadToIncoming(_ server: OverridingServer) {
    server.onIncoming = { [unowned self] server, descriptor in
      if place == .afterIncoming { server.takeDefault(descriptor) }
      if place == .waitInIncoming { operateDeeply() } else { operate() }
      if place != .afterIncoming { server.takeDefault(descriptor) }
    }
  }

  private func leadToAcceptError(_ server: OverridingServer) {
    server.overloadPolicy = place == .strictAcceptError ? .strict : .wait
    if place == .waitInAcceptError {
      server.acceptError.connect { [unowned self] _ in waitUntilOperated() }
      server.newConnection.connect { [unowned self] in operate() }
    } else {
      server.acceptError.connect { [unowned self] _ in operate() }
    }
    if place == .acceptErrorOfResume {
      server.pauseAccepting()
      // Until the loop no longer watches it: that it cannot again is reported within the call.
      for _ in 0..<5 { base?.runOnce(timeout: .zero) }
      fault_fail(FAULT_EPOLL_CTL, 1, 1, ENOMEM)
      server.resumeAccepting()
    } else {
      fault_fail(FAULT_ACCEPT4, 1, 1, EMFILE)
    }
  }

  private func leadToSignal() {
    guard let socket = server?.nextPendingConnection() else { return }
    sockets.append(socket)
    guard sockets.count == 1, let client = clients.first else { return }
    switch place {
    case .bytesWritten:
      socket.bytesWritten.connect { [unowned self] _ in operate() }
      socket.write("hello")
    case .readChannelFinished:
      socket.readChannelFinished.connect { [unowned self] in operate() }
      client.endWriting()
    case .disconnected:
      socket.disconnected.connect { [unowned self] in operate() }
      client.end()
    case .errorOccurred:
      socket.errorOccurred.connect { [unowned self] _ in operate() }
      client.reset()
    default:
      socket.readyRead.connect { [unowned self] in operate() }
      client.send("hello")
    }
  }

  private func startTask(_ server: OverridingServer, _ base: EventBase) {
    let (bound, stage, place) = (LoopBound(server), LoopBound(self), place)
    task = Task(executorPreference: base.taskExecutor) {
      defer { stage.value.taskHasEnded.store(true, ordering: .releasing) }
      switch place {
      case .afterAccept, .jobWhileAccepting:
        while let socket = try await bound.value.accept() {
          stage.value.serve(socket)
        }
      case .connectionOfSequence:
        for try await connection in bound.value.incomingConnections {
          stage.value.serve(try connection.socket())
        }
      default:
        try await bound.value.serve { socket in
          stage.value.operate()
          try await socket.write("served")
          while try await socket.readLine() != nil {}
        }
      }
    }
  }

  private func serve(_ socket: TCPSocket) {
    sockets.append(socket)
    if place != .jobWhileAccepting {
      operate()
    } else if sockets.count == 3 {
      // By then the task waits for the next one.
      let stage = LoopBound(self)
      base?.execute { stage.value.operate() }
    }
    socket.write("served")
  }

  // MARK: - Turning

  /// Turns the loop, or waits, until the place was reached, and then whatever is at hand.
  func play() -> Bool {
    guard turn(until: { hasOperated }) else { return false }
    for _ in 0..<5 { turnOnce(timeout: .zero) }
    fault_clear()
    return true
  }

  /// Turns the loop, if there still is one, until `condition` holds.
  func turn(until condition: () -> Bool) -> Bool {
    let deadline = ContinuousClock.now + Loop.limit
    while !condition() {
      guard ContinuousClock.now < deadline else { return false }
      turnOnce(timeout: .milliseconds(100))
    }
    return true
  }

  private func turnOnce(timeout: Duration) {
    if place.waits && !hasOperated {
      server?.waitForNewConnection(msec: 100)
    } else {
      base?.runOnce(timeout: timeout)
    }
  }

  // MARK: - Afterwards

  /// Whether a client that comes now is served.
  func servesLateClient() throws -> Bool {
    let server = try #require(server)
    let late = try #require(PlainClient(to: server))
    clients.append(late)
    if place.isAsync {
      return turn { late.input() == .bytes(Array("served".utf8)) }
    }
    return turn {
      while let socket = server.nextPendingConnection() {
        sockets.append(socket)
        if socket.peerPort == late.port { return true }
      }
      return false
    }
  }

  /// Ends the task of an `async` place; where nothing listens any more, it has to end by itself.
  func endTask(cancels: Bool) -> Bool {
    guard let task else { return true }
    if cancels {
      task.cancel()
    } else {
      for client in clients { client.end() }
    }
    return turn { taskHasEnded.load(ordering: .acquiring) }
  }
}
