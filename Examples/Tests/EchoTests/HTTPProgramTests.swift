// SPDX-License-Identifier: Apache-2.0

import Glibc
import ProgramTesting
import Testing

@Suite("EchoServer --http as a program", .blocking, .timeLimit(.minutes(5)))
struct HTTPProgramTests {
  private static let fields = "Content-Type: text/plain\r\nContent-Length: 6\r\n"
  static let usual = "HTTP/1.1 200 OK\r\n\(fields)\r\nhello\n"
  static let kept = "HTTP/1.1 200 OK\r\n\(fields)Connection: Keep-Alive\r\n\r\nhello\n"
  static let last = "HTTP/1.1 200 OK\r\n\(fields)Connection: close\r\n\r\nhello\n"
  static let request = "GET / HTTP/1.1\r\nHost: here\r\n\r\n"

  /// Everything the server answers to a client that ends its side after `texts`.
  private func answers(to texts: [String], _ options: [String] = []) throws -> String? {
    let server = try RunningEcho(["--http"] + options)
    let client = try #require(Connection(port: server.port))
    for text in texts {
      client.send(text.utf8)
    }
    client.endSending()
    return client.receiveToEnd().map { String(decoding: $0, as: UTF8.self) }
  }

  @Test("Two requests on one connection", arguments: [[], ["--loops", "2"]])
  func twoRequests(options: [String]) throws {
    let server = try RunningEcho(["--http"] + options)
    let client = try #require(Connection(port: server.port))
    for _ in 1...2 {
      client.send(Self.request.utf8)
      #expect(client.receive(Self.usual.utf8.count) == Array(Self.usual.utf8))
    }
  }

  @Test("Requests sent ahead are all answered")
  func pipelined() throws {
    let requests = String(repeating: Self.request, count: 5000)
    #expect(try answers(to: [requests]) == String(repeating: Self.usual, count: 5000))
  }

  @Test("A request may come byte by byte")
  func bytewise() throws {
    #expect(try answers(to: Self.request.unicodeScalars.map(String.init)) == Self.usual)
  }

  @Test("Connection: close is the last request")
  func close() throws {
    let text = "GET / HTTP/1.1\r\nHost: here\r\nConnection: Close\r\n\r\n" + Self.request
    #expect(try answers(to: [text]) == Self.last)
  }

  @Test("After a signal a request that has begun gets the last answer", arguments: [[], ["--loops", "2"]])
  func ending(options: [String]) throws {
    let server = try RunningEcho(["--http", "--grace", "60"] + options)
    let client = try #require(Connection(port: server.port))
    client.send(Self.request.utf8)
    #expect(client.receive(Self.usual.utf8.count) == Array(Self.usual.utf8))
    client.send(Self.request.utf8.prefix(10))
    server.program.send(signal: SIGTERM)
    while Connection(port: server.port) != nil {}
    client.send(Self.request.utf8.dropFirst(10))
    #expect(client.receiveToEnd().map { String(decoding: $0, as: UTF8.self) } == Self.last)
    client.endSending()
    #expect(try server.program.end().status == 0)
  }

  @Test(
    "Once the end is announced, an answer is the last of its connection",
    arguments: [[], ["--loops", "2"]]
  )
  func announced(options: [String]) throws {
    let server = try RunningEcho(["--http", "--drain-delay", "3600"] + options)
    let kept = try #require(Connection(port: server.port))
    kept.send(Self.request.utf8)
    #expect(kept.receive(Self.usual.utf8.count) == Array(Self.usual.utf8))
    server.program.send(signal: SIGTERM)
    #expect(try server.program.nextLine() == "Ends soon; clients are accepted for 3600.0 s more.")
    for client in [kept, try #require(Connection(port: server.port))] {
      client.send(Self.request.utf8)
      #expect(client.receiveToEnd().map { String(decoding: $0, as: UTF8.self) } == Self.last)
    }
    server.program.send(signal: SIGTERM)
    #expect(try server.program.end().status == 0)
  }

  @Test("A signal ends a connection that is between two requests")
  func endingBetweenRequests() throws {
    let server = try RunningEcho(["--http", "--grace", "60"])
    let client = try #require(Connection(port: server.port))
    client.send(Self.request.utf8)
    #expect(client.receive(Self.usual.utf8.count) == Array(Self.usual.utf8))
    server.program.send(signal: SIGTERM)
    #expect(client.receiveToEnd() == [])
    #expect(try server.program.end().status == 0)
  }

  @Test("HTTP/1.0 closes, unless the client asks to keep the connection")
  func http10() throws {
    #expect(try answers(to: ["GET / HTTP/1.0\r\n\r\n" + Self.request]) == Self.last)
    let keeping = "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"
    #expect(try answers(to: [keeping + Self.request]) == Self.kept + Self.usual)
  }

  @Test("HEAD gets no body")
  func head() throws {
    #expect(try answers(to: ["HEAD / HTTP/1.1\r\nHost: here\r\n\r\n"]) == String(Self.usual.dropLast(6)))
  }
}
