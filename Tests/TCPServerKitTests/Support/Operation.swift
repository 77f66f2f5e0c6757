// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

/// What a program can do with its server, its loop and its sockets wherever it is called.
enum Operation: String, CaseIterable {
  case nothing, close, finish, finishOnShutdown, release, releaseLoopToo
  case listen, closeAndListen, finishAndListen, adopt, closeAndAdopt
  case takeOne, takeAll, add, wait, takeAllAndWait
  case limitOfZero, limitOfThousand, batchOfOne, setEverything
  case pause, resume, pauseAndResume, strict, shed
  case noRoom, resetExcess, refuseNext, allReserved, tellOfEnd
  case removeHandlers, replaceHandlers, emit
  case stopLoop, turnLoop, abortSockets, closeSockets, detachSockets, releaseSockets, ask

  /// Whether the server does not listen afterwards.
  var stops: Bool {
    [.close, .finish, .finishOnShutdown].contains(self)
  }

  /// Whether it listens afterwards, whatever it did before.
  var listens: Bool {
    [.listen, .closeAndListen, .finishAndListen, .adopt, .closeAndAdopt].contains(self)
  }

  func perform(on stage: Stage) {
    guard let server = stage.server else { return }
    switch self {
    case .nothing: break
    case .close: server.close()
    case .finish: server.finish()
    case .finishOnShutdown:
      let shutdown = GracefulShutdown()
      shutdown.begin()
      server.finish(on: shutdown)
    case .release: stage.server = nil
    case .releaseLoopToo:
      stage.server = nil
      stage.base = nil
    case .listen, .closeAndListen, .finishAndListen, .adopt, .closeAndAdopt: listen(server)
    case .takeOne: stage.sockets += server.nextPendingConnection().map { [$0] } ?? []
    case .takeAll: stage.takeAll()
    case .add: for _ in 0..<40 { server.addPendingConnection(TCPSocket(eventBase: stage.base)) }
    case .wait: server.waitForNewConnection()
    case .takeAllAndWait:
      stage.takeAll()
      server.waitForNewConnection()
    case .limitOfZero: server.maxPendingConnections = 0
    case .limitOfThousand: server.maxPendingConnections = 1000
    case .batchOfOne: server.acceptBatchSize = 1
    case .setEverything:
      server.listenBacklogSize = 5
      server.expectedDescriptors = 100
      server.proxy = .none
      server.setSocketOption(.keepAlive, 1)
    case .pause: server.pauseAccepting()
    case .resume: server.resumeAccepting()
    case .pauseAndResume:
      server.pauseAccepting()
      server.resumeAccepting()
    case .strict: server.overloadPolicy = .strict
    case .shed: server.overloadPolicy = .shed
    case .noRoom: server.maxConnections = 0
    case .resetExcess:
      server.maxConnections = 1
      server.excessConnectionPolicy = .reset
    case .refuseNext:
      server.admissionHandler = { [unowned server] _, _ in
        server.admissionHandler = nil
        return .close
      }
    case .allReserved: server.descriptorReserve = .max
    case .tellOfEnd: server.takeIncomingPermit()?.release()
    case .removeHandlers, .replaceHandlers, .emit: changeHandlers(of: server)
    case .stopLoop: stage.base?.stop()
    case .turnLoop: stage.base?.runOnce(timeout: .zero)
    case .abortSockets: for socket in stage.sockets { socket.abort() }
    case .closeSockets: for socket in stage.sockets { socket.close() }
    case .detachSockets: for socket in stage.sockets { SocketPairEnd.close(socket.detach()) }
    case .releaseSockets: stage.sockets = []
    case .ask: ask(server)
    }
  }

  private func listen(_ server: OverridingServer) {
    if self == .closeAndListen || self == .closeAndAdopt { server.close() }
    if self == .finishAndListen { server.finish() }
    let listened = server.isListening
    if self == .adopt || self == .closeAndAdopt {
      let descriptor = Descriptors.listening()
      if !server.setSocketDescriptor(descriptor) {
        SocketPairEnd.close(descriptor)
        #expect(listened && server.serverError == .operation)
      }
    } else if !server.listen(address: .localHost) {
      #expect(listened && server.serverError == .operation)
    }
    #expect(server.isListening)
  }

  private func changeHandlers(of server: OverridingServer) {
    guard self != .emit else { return server.newConnection.emit() }
    server.newConnection.disconnectAll()
    server.acceptError.disconnectAll()
    if self == .replaceHandlers {
      server.onIncoming = { server, descriptor in server.takeDefault(descriptor) }
      server.newConnection.connect {}
      server.acceptError.connect { _ in }
    }
  }

  private func ask(_ server: OverridingServer) {
    #expect((server.serverPort != 0) == server.isListening)
    #expect((server.socketDescriptor >= 0) == server.isListening)
    #expect(server.serverAddress.isNull == !server.isListening)
    #expect((server.statistics.pending > 0) == server.hasPendingConnections)
  }
}

enum SocketPairEnd {
  static func close(_ descriptor: CInt) {
    if descriptor >= 0 { Glibc.close(descriptor) }
  }
}
