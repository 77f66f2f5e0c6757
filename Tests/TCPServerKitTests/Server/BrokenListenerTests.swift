// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

/// A listening socket that another part of the program breaks while no client connects.
@Suite("A listening socket that others break", .timeLimit(.minutes(5)))
struct BrokenListenerTests {
  enum Breakage: CaseIterable, Sendable {
    case closed, becameAFile, shutDown, disconnected

    func apply(to descriptor: CInt) {
      switch self {
      case .closed:
        close(descriptor)
      case .becameAFile:
        let file = unsafe open("/dev/null", O_RDONLY | O_CLOEXEC)
        dup2(file, descriptor)
        close(file)
      case .shutDown:
        shutdown(descriptor, CInt(SHUT_RDWR))
      case .disconnected:
        var nobody = sockaddr()
        nobody.sa_family = sa_family_t(AF_UNSPEC)
        unsafe connect(descriptor, &nobody, socklen_t(MemoryLayout<sockaddr>.size))
      }
    }

    var text: String {
      switch self {
      case .closed, .becameAFile: "Invalid socket descriptor"
      case .shutDown, .disconnected: "Protocol type not supported"
      }
    }
  }

  /// Breaks it, and lets the time pass within which that is noticed.
  private func breakListener(of server: TCPServer, by breakage: Breakage) async {
    await turns(3)
    breakage.apply(to: server.socketDescriptor)
    fault_advance_clock(1000)
  }

  private func expectBroken(_ server: TCPServer, by breakage: Breakage, told: [SocketError]) {
    #expect(told == [.unsupportedSocketOperation])
    #expect(!server.isListening)
    #expect(server.socketDescriptor == -1)
    #expect(server.serverError == .unsupportedSocketOperation)
    #expect(server.errorString == breakage.text)
    #expect(server.statistics.listenerErrors == 1)
    #expect(fault_bad_closes() == 0)
    expectBalanced(server)
  }

  /// What took the number is still there; it is the test's to close.
  private func expectLeftAlone(_ descriptor: CInt, _ breakage: Breakage) {
    if breakage == .becameAFile {
      #expect(close(descriptor) == 0)
    }
  }

  @Test(
    "accept() throws, once for each waiting task, and the server can listen again",
    arguments: Breakage.allCases
  )
  func accept(_ breakage: Breakage) async throws {
    try await onLoop { _ in
      let server = try listening()
      let bound = LoopBound(server)
      let descriptor = server.socketDescriptor
      var told: [SocketError] = []
      server.acceptError.connect { told.append($0) }
      let waiting = (0..<3).map { _ in
        start {
          _ = await #expect(throws: SocketError.unsupportedSocketOperation) {
            _ = try await bound.value.accept()
          }
        }
      }
      await breakListener(of: server, by: breakage)
      for task in waiting { try await task.value }
      expectBroken(server, by: breakage, told: told)
      expectLeftAlone(descriptor, breakage)
      #expect(server.listen(address: .localHost))
      let client = try #require(PlainClient(to: server))
      #expect(try await server.accept()?.peerPort == client.port)
    }
  }

  @Test("connections ends by throwing", arguments: Breakage.allCases)
  func sequence(_ breakage: Breakage) async throws {
    try await onLoop { _ in
      let server = try listening()
      let bound = LoopBound(server)
      let descriptor = server.socketDescriptor
      var told: [SocketError] = []
      server.acceptError.connect { told.append($0) }
      let taking = start {
        await #expect(throws: SocketError.unsupportedSocketOperation) {
          for try await _ in bound.value.incomingConnections {}
        }
      }
      await breakListener(of: server, by: breakage)
      _ = try await taking.value
      expectBroken(server, by: breakage, told: told)
      expectLeftAlone(descriptor, breakage)
    }
  }

  @Test("serve() throws after its handlers have ended", arguments: Breakage.allCases)
  func serve(_ breakage: Breakage) async throws {
    try await onLoop { _ in
      let server = try listening()
      let bound = LoopBound(server)
      let descriptor = server.socketDescriptor
      var told: [SocketError] = []
      server.acceptError.connect { told.append($0) }
      let serving = start {
        try await bound.value.serve { socket in
          try await socket.write("answer")
        }
      }
      let client = try #require(PlainClient(to: server))
      try await until { client.input() == .bytes(Array("answer".utf8)) }
      await breakListener(of: server, by: breakage)
      await #expect(throws: SocketError.unsupportedSocketOperation) { try await serving.value }
      expectBroken(server, by: breakage, told: told)
      expectLeftAlone(descriptor, breakage)
    }
  }
}
