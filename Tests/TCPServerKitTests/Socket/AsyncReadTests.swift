// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

@Suite("Reading with async/await", .timeLimit(.minutes(5)))
struct AsyncReadTests {
  @Test("Lends what has arrived, at once or when it comes")
  func lends() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      pair.client.send("now")
      #expect(try await pair.socket.read { $0.byteCount } == 3)
      let later = start { try await pair.socket.read { unsafe $0.withUnsafeBytes { unsafe Array($0) } } }
      await turns(3)
      pair.client.send("later")
      #expect(text(try await later.value) == "later")
      pair.client.endWriting()
      #expect(try await pair.socket.read { $0.byteCount } == nil)
    }
  }

  @Test("A body that closes the socket keeps what it is reading")
  func closesWhileLent() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      let socket = pair.socket
      pair.client.send("first\nrest")
      #expect(text(try await socket.readLine()) == "first\n")
      let rest = try await socket.read { span in
        socket.close()
        return unsafe span.withUnsafeBytes { unsafe Array($0) }
      }
      #expect(text(rest) == "rest")
      #expect(socket.state == .closing)
    }
  }

  @Test("Reads into the caller's memory, and says 0 at the end")
  func intoMemory() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 4, alignment: 1)
      defer { unsafe memory.deallocate() }
      pair.client.send("abcdef")
      #expect(unsafe try await pair.socket.read(into: memory) == 4)
      #expect(unsafe memory.elementsEqual("abcd".utf8))
      #expect(unsafe try await pair.socket.read(into: memory) == 2)
      pair.client.end()
      #expect(unsafe try await pair.socket.read(into: memory) == 0)
    }
  }

  @Test("A length or a line that is asked for may be longer than the read buffer")
  func longerThanTheBuffer() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      pair.socket.readBufferSize = 4
      let exact = start { try await pair.socket.read(exactly: 10) }
      for part in ["abcdef", "ghij"] {
        await turns(5)
        pair.client.send(part)
      }
      #expect(text(try await exact.value) == "abcdefghij")
      pair.client.send("a long line\nrest")
      #expect(text(try await pair.socket.readLine()) == "a long line\n")
      #expect(pair.socket.bytesAvailable <= 4)
    }
  }

  @Test("Reads up to a length, and an exact one over several arrivals")
  func lengths() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      pair.client.send("abcdef")
      #expect(text(try await pair.socket.read(maxLength: 4)) == "abcd")
      let exact = start { try await pair.socket.read(exactly: 8) }
      for part in ["gh", "ij", "klm"] {
        await turns(5)
        pair.client.send(part)
      }
      #expect(text(try await exact.value) == "efghijkl")
      #expect(text(try await pair.socket.read(exactly: 0)) == "")
      pair.client.end()
      await #expect(throws: SocketError.remoteHostClosed) {
        try await pair.socket.read(exactly: 2)
      }
      #expect(text(try await pair.socket.read(exactly: 1)) == "m")
      #expect(try await pair.socket.read(exactly: 2) == nil)
      #expect(try await pair.socket.read(maxLength: 1) == nil)
    }
  }

  @Test("Lines end at their newline or at the end of input")
  func readsLines() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      pair.client.send("one\n\nfive\nlast")
      pair.client.endWriting()
      var lines: [String] = []
      while let line = try await pair.socket.readLine(maxLength: 5) {
        lines.append(text(line) ?? "")
      }
      #expect(lines == ["one\n", "\n", "five\n", "last"])
    }
  }

  @Test("A line longer than any buffer comes whole, within its limit")
  func longLine() async throws {
    try await onLoop { _ in
      let line = String(repeating: "x", count: 200_000) + "\n"
      try await whileServing { socket in
        let received = try await socket.readLine(maxLength: 300_000)
        try await socket.write("\(received?.count ?? 0)\n")
      } _: { server in
        let client = TCPSocket()
        try await client.connect(to: "127.0.0.1", port: server.serverPort)
        try await client.write(line)
        #expect(text(try await client.readLine()) == "200001\n")
      }
    }
  }

  @Test("The input as sequences of bytes and of lines")
  func sequences() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      pair.client.send("one\r\ntwo\n\nthree")
      pair.client.endWriting()
      var lines: [String] = []
      for try await line in pair.socket.lines { lines.append(line) }
      #expect(lines == ["one", "two", "", "three"])

      let other = try await Pair()
      other.client.send("bytes")
      other.client.endWriting()
      var bytes: [UInt8] = []
      for try await byte in other.socket.bytes { bytes.append(byte) }
      #expect(text(bytes) == "bytes")
    }
  }

  @Test("The timeout of a read never ends a later one, also where the loop stopped watching in between")
  func timeoutsEndWithTheirRead() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      fault_stop_clock()
      defer { fault_reset_clock() }
      let timed = start { try await pair.socket.read(timeout: .milliseconds(20)) { $0.byteCount } }
      await turns(3)
      pair.client.send("1")
      #expect(try await timed.value == 1)
      // No task waits for this one.
      pair.client.send("22")
      await turns()
      #expect(try await pair.socket.read { $0.byteCount } == 2)

      let first = start { try await pair.socket.read { $0.byteCount } }
      await turns(3)
      pair.client.send("333")
      #expect(try await first.value == 3)
      let second = start { try await pair.socket.read { $0.byteCount } }
      await turns(3)
      fault_advance_clock(60)
      await turns(3)
      pair.client.send("4444")
      #expect(try await second.value == 4)
    }
  }

  @Test("A timeout ends the wait only, and spans a whole line or length")
  func timeouts() async throws {
    try await onLoop { base in
      let pair = try await Pair()
      let socket = pair.socket
      let limit: Duration = .milliseconds(40)
      await #expect(throws: SocketError.socketTimeout) { try await socket.read(timeout: limit) { _ in } }
      await #expect(throws: SocketError.socketTimeout) {
        try await socket.read(maxLength: 1, timeout: .zero)
      }
      #expect(socket.errorString == "Network operation timed out")

      // One byte now and then must not keep it alive.
      let dripping = start {
        while !Task.isCancelled {
          pair.client.send("x")
          try await base.sleep(for: .milliseconds(5))
        }
      }
      await #expect(throws: SocketError.socketTimeout) { try await socket.readLine(timeout: limit) }
      await #expect(throws: SocketError.socketTimeout) {
        try await socket.read(exactly: 100_000, timeout: limit)
      }
      dripping.cancel()
      _ = await dripping.result
      #expect(socket.state == .connected)
      pair.client.send("\n")
      #expect(
        try await socket.readLine(timeout: .seconds(60))?.allSatisfy { $0 == UInt8(ascii: "x") } == false
      )
    }
  }

  @Test("What has arrived is read however short the time, and when the loop is late")
  func timeoutWithInput() async throws {
    try await onLoop { base in
      let pair = try await Pair()
      for timeout in [Duration.zero, .milliseconds(5)] {
        pair.client.send("one")
        #expect(Descriptors.waitForBytes(pair.socket.socketDescriptor, 3))
        #expect(try await pair.socket.read(timeout: timeout) { $0.byteCount } == 3)
        // Nothing is known of what comes now.
        let waiting = start { try await pair.socket.read(timeout: timeout) { $0.byteCount } }
        fault_advance_clock(10)
        pair.client.send("more")
        #expect(Descriptors.waitForBytes(pair.socket.socketDescriptor, 4))
        #expect(try await waiting.value == 4)
      }
    }
  }

  @Test("A task that is cancelled already takes nothing of what is there")
  func cancelledBefore() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      pair.client.send("still there\n")
      let reading = start {
        unsafe withUnsafeCurrentTask { unsafe $0?.cancel() }
        return try await pair.socket.readLine()
      }
      await #expect(throws: CancellationError.self) { try await reading.value }
      #expect(pair.socket.errorString == "The task was cancelled")
      #expect(text(try await pair.socket.readLine()) == "still there\n")
    }
  }

  @Test("A read that took all there was makes the next one wait before it asks the kernel")
  func oneCallEach() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      let (rounds, reads) = (100, Counter())
      let reading = start {
        for _ in 0..<rounds {
          _ = try await pair.socket.read { $0.byteCount }
          reads.increment()
        }
      }
      let before = fault_calls(FAULT_RECV)
      for round in 1...rounds {
        pair.client.send("x")
        try await until { reads.value == round }
        await turns(4)
      }
      try await reading.value
      #expect(fault_calls(FAULT_RECV) - before == UInt64(rounds))
    }
  }

  @Test("A cancellation that comes too late for its wait does not end the next one")
  func lateCancellation() async throws {
    try await onLoop { _ in
      let (pair, other) = (try await Pair(), try await Pair())
      let first = start {
        let bytes = try await pair.socket.read(maxLength: 1)
        // Waits before the loop gets to the cancellation.
        return (bytes, start { try await pair.socket.read(maxLength: 1) })
      }
      // In the same turn as the wake-up, and after it.
      other.socket.readyRead.connect { first.cancel() }
      pair.client.send("a")
      other.client.send("b")
      for one in [pair, other] { #expect(Descriptors.waitReadable(one.socket.socketDescriptor)) }
      let (bytes, second) = try await first.value
      #expect(text(bytes) == "a" && first.isCancelled)
      await turns()
      pair.client.send("c")
      #expect(text(try await second.value) == "c")
      other.socket.abort()
    }
  }

  @Test("A second reader is refused, even while the first is woken but has not gone on")
  func secondReader() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      let first = start {
        try await pair.socket.read(maxLength: 10)
      }
      await #expect(throws: SocketError.operation) { try await pair.socket.readLine() }
      #expect(pair.socket.errorString == "Another task is reading from this socket")
      pair.client.send("data")
      // Each job of this loop asks; one of them runs between the first reader's wake-up and its turn.
      var refused = 0
      while true {
        do {
          _ = try await pair.socket.read(maxLength: 10, timeout: .zero)
          break
        } catch SocketError.operation {
          refused += 1
          await Task.yield()
        } catch SocketError.socketTimeout {
          break
        }
      }
      #expect(refused > 0)
      #expect(text(try await first.value) == "data")
    }
  }

  @Test("Signals with handlers and waiting tasks exclude each other")
  func signals() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      let waiting = start {
        _ = await #expect(throws: SocketError.operation) { try await pair.socket.read(maxLength: 1) }
      }
      var received: [UInt8] = []
      pair.socket.readyRead.connect { received += pair.socket.readAll() }
      try await waiting.value
      pair.client.send("hello")
      try await until { received.count == 5 }
      await #expect(throws: SocketError.operation) { try await pair.socket.read(maxLength: 1) }
      #expect(pair.socket.errorString == "The socket's signals have handlers, which read already")
      pair.socket.close()
    }
  }

  @Test("Tasks read again once no signal that reads has a handler", arguments: [false, true])
  func withoutSignals(isAccepted: Bool) async throws {
    try await onLoop { _ in
      let server = try listening()
      let client = TCPSocket()
      try await client.connect(to: "127.0.0.1", port: server.serverPort)
      let accepted = try #require(try await server.accept())
      let (socket, peer) = isAccepted ? (accepted, client) : (client, accepted)
      var received: [UInt8] = []
      socket.readyRead.connect { received += socket.read(maxLength: 3) ?? [] }
      socket.errorOccurred.connect { _ in }
      try await peer.write("hello")
      try await until { received.count == 3 }
      socket.readyRead.disconnectAll()
      await #expect(throws: SocketError.operation) { try await socket.read(maxLength: 1) }
      socket.errorOccurred.disconnectAll()
      #expect(try await text(socket.read(exactly: 2)) == "lo")
      let reading = start { try await socket.readLine() }
      await turns()
      try await peer.write("more\n")
      #expect(try await text(reading.value) == "more\n")
      await peer.closeGracefully()
      #expect(try await socket.readLine() == nil)
    }
  }

  @Test("A connection that is cut is an error; one that is given away or closed here is an end")
  func ends() async throws {
    try await onLoop { _ in
      let cut = try await Pair()
      cut.client.reset()
      await #expect(throws: SocketError.remoteHostClosed) { try await cut.socket.read(maxLength: 1) }

      for end in [{ $0.close() }, { close($0.detach()) }] as [(TCPSocket) -> Void] {
        let pair = try await Pair()
        let waiting = start {
          try await pair.socket.read(maxLength: 1)
        }
        end(pair.socket)
        #expect(try await waiting.value == nil)
      }
    }
  }

  @Test("One that the program aborts is an error to its reader, who has no whole, then and later")
  func aborted() async throws {
    let reads: [@Sendable (TCPSocket) async throws -> Void] = [
      { _ = try await $0.read(maxLength: 1) }, { _ = try await $0.read(exactly: 1) },
      { _ = try await $0.readLine() }, { _ = try await $0.read(until: "end".utf8) },
      { _ = try await $0.read { bytes in bytes.byteCount } }, { _ = try await $0.waitForMessage() },
      { for try await _ in $0.lines {} }, { for try await _ in $0.bytes {} },
    ]
    try await onLoop { _ in
      for read in reads {
        let pair = try await Pair()
        let waiting = start { try await read(pair.socket) }
        pair.client.send("half a line")
        await turns(3)
        pair.socket.abort()
        for _ in 0..<2 {
          await #expect(throws: SocketError.operation) {
            try await waiting.value
            _ = try await pair.socket.readLine()
          }
          #expect(pair.socket.errorString == "The connection was aborted by this program")
        }
        #expect(pair.socket.readAll() == [] && pair.socket.state == .unconnected)
      }
    }
  }

  @Test("So is one that was aborted before anything was read; not the next connection of the same socket")
  func abortedBefore() async throws {
    try await onLoop { _ in
      let server = try listening()
      let client = TCPSocket()
      for isNext in [false, true] {
        try await client.connect(to: .localHost, port: server.serverPort)
        let accepted = try #require(await server.accept())
        if isNext {
          await accepted.closeGracefully()
          #expect(try await client.read(maxLength: 1) == nil)
        }
        OtherThread { client.abort() }.join()
        try await until { client.state == .unconnected }
        await #expect(throws: SocketError.operation) { try await client.read(maxLength: 1) }
      }
    }
  }

  @Test("Releasing a socket that a task has read from closes the connection")
  func released() async throws {
    try await onLoop { _ in
      let client = try await { () async throws -> PlainClient in
        let pair = try await Pair()
        let line = start { try await pair.socket.readLine() }
        await turns(3)
        pair.client.send("bye\n")
        #expect(text(try await line.value) == "bye\n")
        await #expect(throws: SocketError.socketTimeout) {
          try await pair.socket.read(maxLength: 1, timeout: .milliseconds(1))
        }
        return pair.client
      }()
      #expect(client.nextInput() == .end)
    }
  }
}
