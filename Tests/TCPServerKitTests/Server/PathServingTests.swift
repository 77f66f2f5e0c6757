// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

@Suite("Serving at a path", .timeLimit(.minutes(5)))
struct PathServingTests {
  @Test("Tasks serve and connect, and a shutdown ends both with a report")
  func serves() async throws {
    try await onLoop { _ in
      let folder = try SocketFolder()
      let server = try listening(at: folder)
      let shutdown = GracefulShutdown()
      let client = start {
        defer { shutdown.begin(timeout: .seconds(60)) }
        let client = TCPSocket()
        try await client.connect(path: folder.path)
        #expect(client.peerCredentials?.processID == getpid())
        for round in 0..<100 {
          try await client.write("hello \(round)\n")
          #expect(text(try await client.readLine()) == "hello \(round)\n")
        }
        client.finishWriting()
        #expect(try await client.readLine() == nil)
      }
      let report = try await server.serve(shutdown: shutdown) { socket in
        while let line = try await socket.readLine() { try await socket.write(line) }
      }
      try await client.value
      #expect(report.numbers == [1, 0, 0, 0])
      #expect(!folder.hasFile)
      expectBalanced(server)
    }
  }

  @Test("A handler ends though its client has not read the answer, which is not lost")
  func unreadAnswer() async throws {
    try await onLoop { _ in
      let folder = try SocketFolder()
      let server = try listening(at: folder)
      let bound = LoopBound(server)
      let serving = start { try await bound.value.serve { try await $0.write("answer") } }
      let client = try #require(PlainClient(path: folder.path))
      try await until { server.statistics.delivered == 1 }
      client.endWriting()
      try await until { server.statistics.live == 0 }
      #expect(client.receive(exactly: 6) == Array("answer".utf8))
      #expect(client.nextInput() == .end)
      server.close()
      let report = try await serving.value
      #expect(report.numbers == [1, 0, 0, 0])
      #expect(server.statistics.undelivered == 0)
    }
  }

  @Test("Connections are taken by another loop, as objects")
  func incomingConnections() async throws {
    try await onLoop { base in
      let folder = try SocketFolder()
      let server = try listening(at: folder)
      let client = try #require(PlainClient(path: folder.path))
      var connections = server.incomingConnections.makeAsyncIterator()
      let connection = try #require(try await connections.next())
      #expect(connection.peerAddress.isNull && connection.peerPort == 0)
      let socket = try connection.socket(on: base)
      #expect(socket.peerCredentials?.processID == getpid())
      try await socket.write("x")
      #expect(client.receive(exactly: 1) == [120])
    }
  }

  @Test("A deadline cuts a client off, whose address is none")
  func cutOff() async throws {
    try await onLoop { _ in
      let folder = try SocketFolder()
      let server = try listening(at: folder)
      let bound = LoopBound(server)
      let shutdown = GracefulShutdown()
      let reads = Gate()
      let serving = start {
        try await bound.value.serve(shutdown: shutdown) { socket in
          reads.open()
          _ = try await socket.readLine()
        }
      }
      let client = try #require(PlainClient(path: folder.path))
      await reads.pass()
      shutdown.begin(timeout: .zero)
      let report = try await serving.value
      #expect(report.cancelled == 1)
      #expect(report.cancelledPeers.first?.address.isNull == true)
      #expect(report.cancelledPeers.map(\.description) == ["a peer without an address"])
      #expect(client.nextInput() == .end)
    }
  }

  @Test("A path is relayed to a TCP server and back, with the ends of both sides")
  func relayed() async throws {
    try await onLoop { _ in
      let folder = try SocketFolder()
      let (front, back) = (try listening(at: folder), try listening())
      let port = back.serverPort
      let (boundFront, boundBack) = (LoopBound(front), LoopBound(back))
      let serving = start {
        try await boundBack.value.serve { socket in
          var count = 0
          while let bytes = try await socket.read(maxLength: 65536) { count += bytes.count }
          try await socket.write("\(count)")
        }
      }
      let relaying = start {
        try await boundFront.value.serve { socket in
          let other = TCPSocket()
          try await other.connect(to: "127.0.0.1", port: port)
          try await socket.relay(with: other)
        }
      }
      let client = TCPSocket()
      try await client.connect(path: folder.path)
      let size = 4 << 20
      try await client.write([UInt8](repeating: 1, count: size))
      client.finishWriting()
      #expect(text(try await client.readLine()) == "\(size)")
      for server in [front, back] { server.finish() }
      #expect(try await relaying.value.numbers == [1, 0, 0, 0])
      #expect(try await serving.value.numbers == [1, 0, 0, 0])
    }
  }

  @Test("A group serves a path on all its loops", arguments: [Distribution.leastConnections, .byPeer])
  func group(_ distribution: Distribution) async throws {
    try await onLoops(2) { loops in
      let folder = try SocketFolder()
      let server = TCPServerGroup(on: loops, distribution: distribution, stallLimit: nil)
      #expect(server.serverPath == nil)
      try await server.listen(path: folder.path, permissions: 0o600)
      #expect(folder.permissions == 0o600)
      #expect(server.serverPath == folder.path && server.serverAddress.isNull && server.serverPort == 0)
      await #expect(throws: SocketError.operation) { try await server.listen(path: folder.path) }
      let report = try await whileServing(server) { socket in
        while let line = try await socket.readLine() { try await socket.write(line) }
      } _: {
        let clients = (0..<20).compactMap { _ in PlainClient(path: folder.path) }
        for client in clients { client.send("ping\n") }
        for client in clients { #expect(client.receive(exactly: 5) == Array("ping\n".utf8)) }
        #expect(server.statisticsByLoop.map(\.live) == [10, 10])
        try await server.withServers { one, _ in #expect(one.serverPath == folder.path) }
      }
      #expect(report.served == 20)
      #expect(!folder.hasFile && server.serverPath == nil)
      try await server.listen(path: folder.path)
      #expect(folder.hasFile)
    }
  }

  @Test(
    "Where each loop accepts for itself, a path is refused",
    arguments: [Distribution.sharedQueue, .shards]
  )
  func eachForItself(_ distribution: Distribution) async throws {
    try await onLoops(2) { loops in
      let folder = try SocketFolder()
      let server = TCPServerGroup(on: loops, distribution: distribution)
      await #expect(throws: SocketError.unsupportedSocketOperation) {
        try await server.listen(path: folder.path)
      }
      let text = try await server.withAcceptor { $0.errorString }
      #expect(text == "At a path one loop accepts for all")
      #expect(!server.isListening && !folder.hasFile)
    }
  }

  @Test("A listening UNIX socket is adopted by a group, with one queue too")
  func adopted() async throws {
    try await onLoops(2) { loops in
      for distribution in [Distribution.leastConnections, .sharedQueue] {
        let folder = try SocketFolder()
        let descriptor = try #require(UnixName(folder.path)?.listening())
        let server = TCPServerGroup(on: loops, distribution: distribution)
        try await server.setSocketDescriptor(descriptor)
        #expect(server.serverPath == folder.path)
        try await whileServing(server) { socket in
          while let line = try await socket.readLine() { try await socket.write(line) }
        } _: {
          let client = try #require(PlainClient(path: folder.path))
          client.send("ping\n")
          #expect(client.receive(exactly: 5) == Array("ping\n".utf8))
        }
      }
    }
  }

  @Test("Sockets of several paths are no shards of one")
  func severalPaths() async throws {
    try await onLoops(2) { loops in
      let folders = [try SocketFolder(), try SocketFolder()]
      let descriptors = try folders.map { try #require(UnixName($0.path)?.listening()) }
      let server = TCPServerGroup(on: loops, distribution: .shards)
      await #expect(throws: SocketError.operation) { try await server.setSocketDescriptors(descriptors) }
      descriptors.forEach { close($0) }
    }
  }
}
