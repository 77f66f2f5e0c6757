// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

/// Lines and other delimited input: no piece of a long one looks like one of its own, whatever border it meets.
@Suite("Lines and delimiters", .timeLimit(.minutes(5)))
struct DelimiterTests {
  private static func lines(
    of input: [UInt8],
    maxLength: Int = 65536
  ) async throws -> (lines: [String], error: SocketError?) {
    try await onLoop { _ in
      let pair = try await Pair()
      let sending = Background { [client = LoopBound(pair.client)] in
        let sent = client.value.send(input)
        client.value.endWriting()
        return sent
      }
      var lines: [String] = []
      do {
        for try await line in pair.socket.lines(maxLength: maxLength) { lines.append(line) }
      } catch {
        pair.socket.abort()
        _ = sending.join()
        return (lines, error as? SocketError)
      }
      _ = sending.join()
      return (lines, nil)
    }
  }

  @Test("A line that is too long is an error, and what follows it no line", arguments: [10, 65536])
  func tooLong(limit: Int) async throws {
    let input =
      Array("ok\n".utf8) + [UInt8](repeating: 97, count: limit) + Array("DELETE everything\nok\n".utf8)
    let (lines, error) = try await Self.lines(of: input, maxLength: limit)
    #expect(lines == ["ok"])
    #expect(error == .lineTooLong)
  }

  @Test("A line of exactly the limit is one, one of a byte more is not")
  func exactly() async throws {
    #expect(try await Self.lines(of: Array("1234\n12345\n".utf8), maxLength: 5).lines == ["1234"])
    #expect(try await Self.lines(of: Array("1234\n".utf8), maxLength: 5).error == nil)
    #expect(try await Self.lines(of: Array("12345\n".utf8), maxLength: 5).error == .lineTooLong)
    #expect(try await Self.lines(of: Array("12345".utf8), maxLength: 5).error == .lineTooLong)
  }

  @Test("Bytes of a line that are not UTF-8 are replaced")
  func notUTF8() async throws {
    let input = Array("a".utf8) + [0xFF] + Array("b\n".utf8) + [0xC3] + Array("\nc\n".utf8)
    #expect(try await Self.lines(of: input).lines == ["a\u{FFFD}b", "\u{FFFD}", "c"])
  }

  @Test(
    "Characters and line endings on the border of a read stay whole",
    arguments: [16382, 16383, 32766, 65533]
  )
  func borders(length: Int) async throws {
    let start = String(repeating: "a", count: length)
    for text in [start + "é", start + "\u{1F600}b", start] {
      for ending in ["\n", "\r\n"] {
        let (lines, error) = try await Self.lines(
          of: Array((text + ending + "next\r\n").utf8),
          maxLength: 1 << 20
        )
        #expect(lines == [text, "next"])
        #expect(error == nil)
      }
    }
  }

  @Test("An empty delimiter is refused")
  func emptyDelimiter() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      await #expect(throws: SocketError.operation) { _ = try await pair.socket.read(until: []) }
      #expect(pair.socket.errorString.contains("An empty delimiter"))
    }
  }

  @Test("The bytes of a line that is too long stay readable, and the connection stays open")
  func staysReadable() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      pair.client.send("too long\n")
      await #expect(throws: SocketError.lineTooLong) { try await pair.socket.readLine(maxLength: 4) }
      #expect(pair.socket.errorString == "Line too long")
      #expect(text(try await pair.socket.readLine(maxLength: 9)) == "too long\n")
      #expect(pair.socket.state == .connected)
    }
  }

  @Test("A line has its time, as one that is read alone has")
  func timeout() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      pair.client.send("in time\npart")
      #expect(Descriptors.waitForBytes(pair.socket.socketDescriptor, 12))
      var lines = pair.socket.lines(timeout: .milliseconds(30)).makeAsyncIterator()
      #expect(try await lines.next() == "in time")
      await #expect(throws: SocketError.socketTimeout) { try await lines.next() }
      pair.client.send("ial\n")
      #expect(Descriptors.waitForBytes(pair.socket.socketDescriptor, 4))
      #expect(try await lines.next() == "partial")
    }
  }

  // MARK: - Any delimiter

  @Test("Reads up to a delimiter of several bytes, however they arrive")
  func severalBytes() async throws {
    try await onLoop { base in
      let pair = try await Pair()
      let reading = start { try await pair.socket.read(until: "\r\n\r\n".utf8) }
      for piece in ["GET\r\n", "\r", "\r\n", "\r", "\n", "body"] {
        pair.client.send(piece)
        try await base.sleep(for: .milliseconds(5))
      }
      #expect(text(try await reading.value) == "GET\r\n\r\r\n\r\n")
      pair.client.endWriting()
      #expect(text(try await pair.socket.read(until: [0])) == "body")
      #expect(try await pair.socket.read(until: [0]) == nil)
    }
  }

  @Test("Its limit counts the delimiter; an empty one is refused")
  func limit() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      pair.client.send("abc::defg::")
      #expect(text(try await pair.socket.read(until: "::".utf8, maxLength: 5)) == "abc::")
      await #expect(throws: SocketError.lineTooLong) {
        try await pair.socket.read(until: "::".utf8, maxLength: 5)
      }
      await #expect(throws: SocketError.operation) { try await pair.socket.read(until: []) }
      #expect(text(try await pair.socket.read(until: "::".utf8)) == "defg::")
    }
  }

  @Test("A read into no memory takes nothing and ends nothing")
  func noMemory() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      let none = unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0)
      #expect(unsafe try await pair.socket.read(into: none) == 0)
      #expect(Self.readNothing(pair.socket) == 0)
      pair.client.send("still")
      #expect(text(try await pair.socket.read(exactly: 5)) == "still")
    }
  }

  /// The call that does not wait, which an async context would not choose.
  private static func readNothing(_ socket: TCPSocket) -> Int {
    socket.readByteCount(0)
  }

  @Test(
    "What an iteration over the bytes has read ahead, and not given out, the next read finds",
    arguments: [false, true]
  )
  func bytesAndThenLines(elsewhere: Bool) async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      pair.client.send("name\0first\nsecond\n")
      pair.client.endWriting()
      let socket = pair.socket
      @Sendable func read() async throws -> [String?] {
        var name: [UInt8] = []
        for try await byte in socket.bytes {
          guard byte != 0 else { break }
          name.append(byte)
        }
        var found: [String?] = [text(name)]
        for try await line in socket.lines { found.append(line) }
        return found
      }
      let found = try await elsewhere ? Task.detached { try await read() }.value : read()
      #expect(found == ["name", "first", "second"])
    }
  }

  @Test("Nothing of an aborted connection is put back")
  func bytesOfAborted() async throws {
    try await onLoop { _ in
      let pair = try await Pair()
      pair.client.send("ab")
      for try await _ in pair.socket.bytes {
        pair.socket.abort()
        break
      }
      #expect(pair.socket.bytesAvailable == 0)
    }
  }

  @Test("A newline is found in whichever piece it comes, also after a rollback")
  func newlineInPieces() throws {
    let loop = try Loop()
    let (server, client) = try connectedPair(loop.base)
    server.readyRead.connect {}
    func expect(_ count: Int, _ hasLine: Bool) {
      #expect(loop.run { server.bytesAvailable == count })
      #expect(server.canReadLine == hasLine)
    }
    client.send("ab")
    expect(2, false)
    client.send("c")
    expect(3, false)
    server.startTransaction()
    #expect(server.read(maxLength: 1) == Array("a".utf8))
    server.rollbackTransaction()
    expect(3, false)
    client.send("\nd\ne")
    expect(7, true)
    #expect(server.readLine(maxLength: 2) == Array("ab".utf8))
    #expect(server.readLine() == Array("c\n".utf8))
    #expect(server.canReadLine)
    #expect(server.readLine() == Array("d\n".utf8))
    expect(1, false)
    #expect(server.readLine() == Array("e".utf8))
  }
}
