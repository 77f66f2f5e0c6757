// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

@Suite("serve() and errors", .timeLimit(.minutes(5)))
struct ServeErrorTests {
  private struct Refused: Error {}

  /// Makes accepting fail; libevent follows a failed accept4() with accept() where that may be the one there is.
  private static func failAccepting(_ errnum: CInt) {
    fault_fail(FAULT_ACCEPT4, 1, 1, errnum)
    fault_fail(FAULT_ACCEPT, 1, 1, errnum)
  }

  @Test(
    "When the listening socket breaks it throws one error, after the handlers at work have ended",
    arguments: [EBADF, EINVAL, ENOTSOCK]
  )
  func listenerBreaks(errnum: CInt) async throws {
    try await onLoop { _ in
      defer { fault_clear() }
      let (started, gate, hasEnded) = (Gate(), Gate(), Flag())
      defer { gate.open() }
      let server = try listening()
      let bound = LoopBound(server)
      let serving = start {
        defer { hasEnded.set() }
        return try await bound.value.serve { socket in
          started.open()
          await gate.pass()
          try await socket.write("answer")
        }
      }
      let client = try #require(PlainClient(to: server))
      await started.pass()
      Self.failAccepting(errnum)
      let late = try #require(PlainClient(to: server))
      try await until { !server.isListening }
      await turns()
      #expect(!hasEnded.isSet)
      #expect(client.input() == .nothing)
      gate.open()
      await #expect(throws: server.serverError) { try await serving.value }
      #expect(client.nextInput() == .bytes(Array("answer".utf8)))
      #expect(client.nextInput() == .end)
      #expect(late.nextInput() == .failed(ECONNRESET))
      #expect(server.statistics.listenerErrors == 1)
      // Reported once: the server merely does not listen now.
      await #expect(throws: SocketError.operation) { try await server.serve { _ in } }
      expectBalanced(server)
    }
  }

  @Test("So it does when the socket is shut down under it, without a connection to wait for")
  func listenerShutDown() async throws {
    try await onLoop { _ in
      let server = try listening()
      let bound = LoopBound(server)
      let serving = start { try await bound.value.serve { _ in } }
      await turns(3)
      shutdown(server.socketDescriptor, CInt(SHUT_RDWR))
      await #expect(throws: SocketError.unsupportedSocketOperation) { try await serving.value }
      #expect(server.serverError == .unsupportedSocketOperation)
    }
  }

  @Test("A handler that throws ends its connection in order, and is counted; the server goes on")
  func handlerThrows() async throws {
    try await onLoop { _ in
      let report = try await whileServing { socket in
        let line = try await socket.readLine() ?? []
        try await socket.write(line)
        switch text(line) {
        case "throw\n": throw Refused()
        case "cancel\n": throw CancellationError()
        default: break
        }
      } _: { server in
        for line in ["throw\n", "fine\n", "cancel\n", "throw\n", "fine\n"] {
          let client = try #require(PlainClient(to: server))
          client.send(line)
          try await until { client.input() == .bytes(Array(line.utf8)) }
          #expect(client.nextInput() == .end)
        }
      }
      #expect(report.numbers == [5, 3, 0, 0])
    }
  }

  @Test("A handler whose connection another task aborts does not take that for the end of the input")
  func abortedByWatchdog() async throws {
    try await onLoop { _ in
      let (isWhole, hasEnded) = (Flag(), Flag())
      let report = try await whileServing { socket in
        defer { hasEnded.set() }
        Task { socket.abort() }
        while try await socket.readLine() != nil {}
        isWhole.set()
      } _: { server in
        let client = try #require(PlainClient(to: server))
        try await until { hasEnded.isSet }
        #expect(client.nextInput() == .failed(ECONNRESET))
      }
      #expect(!isWhole.isSet)
      #expect(report.numbers == [1, 1, 0, 0])
    }
  }

  @Test("Peers that reset, before they are accepted, meanwhile or after, do not end it")
  func peersReset() async throws {
    try await onLoop { _ in
      defer { fault_clear() }
      let started = Counter()
      let report = try await whileServing { socket in
        started.increment()
        while let line = try await socket.readLine() { try await socket.write(line) }
      } _: { server in
        PlainClient(to: server)?.reset()
        let client = try #require(PlainClient(to: server))
        try await until { started.value == 2 }
        client.reset()
        Self.failAccepting(EPROTO)
        let last = try #require(PlainClient(to: server))
        last.send("still here\n")
        try await until { last.input() == .bytes(Array("still here\n".utf8)) }
        last.endWriting()
        try await until { last.input() == .end }
        #expect(server.statistics.peerErrors == 1)
      }
      #expect(report.numbers == [3, 2, 0, 0])
    }
  }

  @Test("Descriptors running out pause it, and it serves those who waited")
  func noDescriptors() async throws {
    try await onLoop { _ in
      defer { fault_clear() }
      try await whileServing {
        try await $0.write("served")
      } _: { server in
        Self.failAccepting(EMFILE)
        let client = try #require(PlainClient(to: server))
        try await until { client.input() == .bytes(Array("served".utf8)) }
        #expect(server.statistics.resourceErrors == 1)
      }
    }
  }

  @Test("A server without a loop, and one that does not listen, refuse")
  func refused() async throws {
    let loopless = TCPServer(eventBase: nil)
    #expect(loopless.listen(address: .localHost))
    await #expect(throws: SocketError.operation) { try await loopless.serve { _ in } }
    #expect(loopless.errorString == withoutEventBase("serve()"))
    try await onLoop { _ in
      let server = TCPServer()
      await #expect(throws: SocketError.operation) { try await server.serve { _ in } }
      #expect(server.serverError == .operation)
      #expect(server.errorString == "serve() called on a server that does not listen")
    }
  }
}
