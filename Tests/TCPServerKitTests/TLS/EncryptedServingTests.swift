// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerTLS
import Testing

@testable import TCPServerKit

@Suite("Encrypted connections in tasks", .enabled(if: Certificates.canBeMade))
struct EncryptedServingTests {
  @Test("A handler for plain connections serves encrypted ones, and says what was agreed")
  func echoes() async throws {
    try await onLoop { _ in
      let report = try await whileServingEncrypted(
        { $0.applicationProtocols = ["echo", "other"] },
        handler: { socket in
          #expect(socket.encryption?.serverName == "localhost")
          #expect(socket.encryption?.version == .tls13)
          while let line = try await socket.readLine() { try await socket.write(line) }
        }
      ) { server in
        let client = try await encryptedClient(of: server) { $0.applicationProtocols = ["other"] }
        #expect(client.encryption?.applicationProtocol == "other")
        #expect(client.encryption?.peerCertificates.count == 1)
        #expect(client.encryption?.verification == 0)
        #expect(client.encryption?.cipher.hasPrefix("TLS_") == true)
        for number in 0..<20 {
          try await client.write("line \(number)\n")
          #expect(text(try await client.readLine()) == "line \(number)\n")
        }
        client.disconnectFromHost()
        try await until { server.handshakeStatistics.completed == 1 && server.statistics.live == 0 }
      }
      #expect(report.numbers == [1, 0, 0, 0])
    }
  }

  @Test("4 MiB go both ways at once, with TLS 1.2 and 1.3", arguments: [SSLVersion.tls12, .tls13])
  func bulk(version: SSLVersion) async throws {
    try await onLoop { _ in
      _ = try await whileServingEncrypted(handler: echo) { server in
        let client = try await encryptedClient(of: server) { $0.maximumVersion = version }
        #expect(client.encryption?.version == version)
        let sent = pattern(4 << 20)
        let writing = start {
          try await client.write(sent)
          client.finishWriting()
        }
        let received = try await readToEnd(client)
        try await writing.value
        #expect(Delivery.whole(received) == .whole(sent))
      }
    }
  }

  @Test("A peer that has ended its side still gets what is written, both ways")
  func halfClose() async throws {
    try await onLoop { _ in
      let ended = Counter()
      try await whileServingEncrypted(handler: { socket in
        let question = try await readToEnd(socket)
        #expect(text(question) == "question")
        try await socket.write(pattern(300_000))
        socket.finishWriting()
        ended.increment()
      }) { server in
        let client = try await encryptedClient(of: server)
        try await client.write("question")
        client.finishWriting()
        #expect(try await readToEnd(client) == pattern(300_000))
      }
      #expect(ended.value == 1)
    }
  }

  @Test(
    "Bytes and the end in one segment are both noticed, whatever the size",
    arguments: [1, 100, 8191, 8192, 16384, 40000]
  )
  func endBehindBytes(size: Int) async throws {
    try await onLoop { _ in
      let received = Shared(0)
      try await whileServingEncrypted(handler: { socket in
        received.value = try await readToEnd(socket).count
        try await socket.write("done")
      }) { server in
        let client = try await encryptedClient(of: server)
        client.writeAtOnce([pattern(size)])
        // The end of TLS alone: no end of the connection follows that epoll would announce.
        _ = client.transport?.endWriting()
        #expect(text(try await client.read(exactly: 4)) == "done")
        #expect(received.value == size)
      }
    }
  }

  @Test(
    "A connection that is cut without the end of TLS is an error, after the bytes before it",
    arguments: [false, true]
  )
  func truncation(isAllowed: Bool) async throws {
    try await onLoop { _ in
      let outcome = Shared("")
      try await whileServingEncrypted(
        { $0.allowsTruncation = isAllowed },
        handler: { socket in
          let first = text(try await socket.read(exactly: 5)) ?? ""
          do {
            let more = try await socket.read(maxLength: 100)
            outcome.value =
              "\(first) \(more == nil ? "end" : "more") \(socket.encryption?.isTruncated ?? false)"
          } catch {
            outcome.value =
              "\(first) \(error as? SocketError == .remoteHostClosed) \(socket.encryption?.isTruncated ?? false)"
            throw error
          }
        }
      ) { server in
        let client = try await encryptedClient(of: server)
        try await client.write("bytes")
        shutdown(client.socketDescriptor, CInt(SHUT_WR))
        try await until { outcome.value != "" }
      }
      #expect(outcome.value == (isAllowed ? "bytes end true" : "bytes true true"))
    }
  }

  @Test("A relay passes on what was encrypted, both ways, until both have ended")
  func relay() async throws {
    try await onLoop { _ in
      let upstream = try listening()
      let bound = LoopBound(upstream)
      let echoing = start { try await bound.value.serve(handler: echo) }
      let port = upstream.serverPort
      try await whileServingEncrypted(handler: { socket in
        let other = TCPSocket()
        try await other.connect(to: "127.0.0.1", port: port)
        let report = try await socket.relay(with: other)
        #expect(report == RelayReport(forwarded: 1 << 20, returned: 1 << 20))
      }) { server in
        let client = try await encryptedClient(of: server)
        let sent = pattern(1 << 20)
        let writing = start {
          try await client.write(sent)
          client.finishWriting()
        }
        #expect(Delivery.whole(try await readToEnd(client)) == .whole(sent))
        try await writing.value
      }
      echoing.cancel()
      _ = try await echoing.value
    }
  }

  @Test("A write of several pieces arrives in order")
  func pieces() async throws {
    try await onLoop { _ in
      let pieces = (1...50).map { pattern($0 * 997) }
      try await whileServingEncrypted(handler: { socket in
        socket.writeAtOnce(pieces)
        try await socket.write(pieces: pieces)
      }) { server in
        let client = try await encryptedClient(of: server)
        let once = pieces.reduce(into: []) { $0 += $1 }
        #expect(Delivery.whole(try await readToEnd(client)) == .whole(once + once))
      }
    }
  }

  @Test("A write that is given up sends the record that it has begun, and no more", arguments: [false, true])
  func cancelledWrite(goesOn: Bool) async throws {
    try await onLoop { _ in
      let (count, sent) = (8 << 20, Shared(0))
      _ = try await whileServingEncrypted(handler: { socket in
        socket.setSocketOption(.sendBufferSize, 65536)
        let bytes = pattern(count)
        do {
          try await socket.write(bytes, timeout: .milliseconds(20))
        } catch SocketError.socketTimeout {
          sent.value = socket.bytesOfFailedWrite
          let rest = goesOn ? Array(bytes[socket.bytesOfFailedWrite...]) : Array("END".utf8)
          try await socket.write(rest, timeout: Loop.limit)
        }
      }) { server in
        let client = try await encryptedClient(of: server)
        try await until { sent.value > 0 }
        #expect(sent.value < count)
        let expected = goesOn ? pattern(count) : pattern(count).prefix(sent.value) + Array("END".utf8)
        #expect(Delivery.whole(try await readToEnd(client)) == .whole(expected))
      }
    }
  }

  @Test("The turn's budget ends no read for good: many small records come all")
  func smallRecords() async throws {
    try await onLoop { _ in
      let total = Shared(0)
      try await whileServingEncrypted(handler: { socket in
        while let byte = try await socket.read(exactly: 1) { total.value += byte.count }
      }) { server in
        let client = try await encryptedClient(of: server)
        for _ in 0..<2000 { client.writeAtOnce([[120]]) }
        client.finishWriting()
        try await until { total.value == 2000 }
        _ = try await readToEnd(client)
      }
    }
  }
}
