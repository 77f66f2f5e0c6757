// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

@Suite("Listening through a proxy: tasks", .timeLimit(.minutes(5)))
struct ProxyAsyncTests {
  @Test("startListening() suspends until the first reply; accept() gives the peer of the second")
  func accept() async throws {
    try await onLoop { _ in
      let proxy = ScriptedProxy(ScriptedProxy.binds(), [.expect([5, 1, 0])])
      let server = TCPServer()
      server.proxy = proxy.proxy
      try await server.startListening()
      #expect(server.serverPort == 1286)
      let bound = LoopBound(server)
      async let accepted = bound.value.accept().map { $0.peerPort }
      await turns(3)
      try #require(proxy.takeControl()).send(ScriptedProxy.reply())
      #expect(try await accepted == 4660)
      server.close()
      expectBalanced(server)
    }
  }

  @Test("The loop goes on while a proxy is asked")
  func suspends() async throws {
    try await onLoop { base in
      let proxy = ScriptedProxy([])
      let server = TCPServer()
      server.proxy = proxy.proxy
      let bound = LoopBound(server)
      let starting = start { try await bound.value.startListening() }
      try await base.sleep(for: .milliseconds(1))
      #expect(!server.isListening)
      #expect(!server.listen(), "it is about to")
      #expect(server.errorString == "listen() called when already listening")
      try await until { proxy.played == 1 }
      let control = try #require(proxy.takeControl())
      control.send([5, 0] + ScriptedProxy.reply())
      try await starting.value
      #expect(server.isListening)
    }
  }

  @Test("It throws what listen() would set; a direct address needs no proxy", arguments: [true, false])
  func throwing(_ answers: Bool) async throws {
    try await onLoop { _ in
      let proxy = ScriptedProxy(answers ? [.send([5, 0, 5, 7])] : [.close])
      let server = TCPServer()
      server.proxy = proxy.proxy
      let expected: SocketError = answers ? .unsupportedSocketOperation : .proxyConnectionClosed
      await #expect(throws: expected) { try await server.startListening() }
      #expect(server.serverError == expected)
      #expect(server.socketDescriptor == -1)
      server.proxy = .http(hostName: "a")
      await #expect(throws: SocketError.unsupportedSocketOperation) { try await server.startListening() }
      try await server.startListening(address: .localHost)
      #expect(server.serverPort != 0)
      await #expect(throws: SocketError.operation) { try await server.startListening() }
    }
  }

  @Test("A silent proxy ends it at the deadline, by the loop's timer")
  func deadline() async throws {
    try await onLoop { _ in
      let proxy = ScriptedProxy([.expect([5, 1, 0])])
      let server = TCPServer()
      server.proxy = proxy.proxy
      server.proxy.timeout = .seconds(5)
      fault_stop_clock()
      let bound = LoopBound(server)
      let starting = start {
        await #expect(throws: SocketError.socketTimeout) { try await bound.value.startListening() }
      }
      try await until { proxy.played == 1 }
      fault_advance_clock(5000)
      _ = try await starting.value
      fault_reset_clock()
      #expect(server.socketDescriptor == -1)
    }
  }

  @Test("Cancelled or closed in any state, it leaves nothing open", arguments: [true, false])
  func cancelled(_ byClosing: Bool) async throws {
    let scripts: [[ScriptedProxy.Step]] = [
      [], [.expect([5, 1, 0]), .send([5])],
      [.expect([5, 1, 0]), .send([5, 0]), .expect(ScriptedProxy.request())],
      [.expect([5, 1, 0]), .send([5, 0, 5, 0, 0, 1])],
    ]
    for script in scripts {
      try await onLoop { base in
        let proxy = ScriptedProxy(script)
        let server = TCPServer()
        server.proxy = proxy.proxy
        let bound = LoopBound(server)
        let starting = start { try await bound.value.startListening() }
        while proxy.played == 0 {
          try await base.sleep(for: .milliseconds(1))
        }
        let control = try #require(proxy.takeControl())
        if byClosing {
          server.close()
        } else {
          starting.cancel()
        }
        let error = byClosing ? SocketError.operation : .unfinishedSocketOperation
        if byClosing {
          await #expect(throws: error) { try await starting.value }
        } else {
          await #expect(throws: CancellationError.self) { try await starting.value }
        }
        #expect(server.serverError == error)
        #expect(
          server.errorString
            == (byClosing ? "The server was closed before the proxy had answered" : "The task was cancelled")
        )
        #expect(!server.isListening)
        _ = control.receive(exactly: 3)
        var rest = control.nextInput()
        if case .bytes = rest { rest = control.nextInput() }
        #expect(rest == .end || rest == .failed(ECONNRESET))
        server.proxy = .none
        #expect(server.listen(address: .localHost))
      }
    }
  }

  @Test("serve() and the sequence of connections go through a proxy like any other server")
  func serving() async throws {
    try await onLoop { _ in
      let proxy = ScriptedProxy(ScriptedProxy.binds(), ScriptedProxy.binds(wish: 1286))
      let server = TCPServer()
      server.proxy = proxy.proxy
      try await server.startListening()
      let bound = LoopBound(server)
      let serving = start {
        try await bound.value.serve { socket in
          while let line = try await socket.readLine() { try await socket.write(line) }
        }
      }
      for index in 0..<2 {
        try await until { proxy.played > index && !bound.value.proxyBindings.isEmpty }
        let control = try #require(proxy.takeControl(index))
        control.send(ScriptedProxy.reply() + Array("line\n".utf8))
        var line: [UInt8] = []
        try await until {
          if case .bytes(let bytes) = control.input() { line += bytes }
          return line == Array("line\n".utf8)
        }
        control.end()
        if index == 1 { break }
      }
      server.finish()
      #expect(try await serving.value.served == 2)
      expectBalanced(server)

      let second = ScriptedProxy(ScriptedProxy.binds())
      server.proxy = second.proxy
      server.proxyListenOptions.rebinds = false
      try await server.startListening()
      try #require(second.takeControl()).send(ScriptedProxy.reply())
      var peers: [UInt16] = []
      for try await connection in server.incomingConnections { peers.append(connection.peerPort) }
      #expect(peers == [4660], "one peer, then the end")
      expectBalanced(server)
    }
  }

  @Test("A lost proxy that is not asked again ends the waiting task, with the error")
  func lost() async throws {
    try await onLoop { _ in
      let proxy = ScriptedProxy(ScriptedProxy.binds())
      let server = TCPServer()
      server.proxy = proxy.proxy
      server.proxyListenOptions.rebinds = false
      try await server.startListening()
      let bound = LoopBound(server)
      let waiting = start { try await bound.value.accept() == nil }
      try #require(proxy.takeControl()).end()
      await #expect(throws: SocketError.proxyConnectionClosed) { try await waiting.value }
      #expect(!server.isListening)
    }
  }

  @Test("Without an event base there is nothing to suspend on")
  func noLoop() async {
    let server = TCPServer(eventBase: nil)
    await #expect(throws: SocketError.operation) { try await server.startListening() }
    #expect(server.errorString == withoutEventBase("startListening()"))
  }
}
