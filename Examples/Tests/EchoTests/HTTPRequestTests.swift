// SPDX-License-Identifier: Apache-2.0

import ProgramTesting
import Testing

@testable import EchoServer

@Suite("What EchoServer --http takes for a request", .blocking, .timeLimit(.minutes(5)))
struct HTTPRequestTests {
  @Test("Each request is answered once, or refused as the last")
  func answers() throws {
    let server = try RunningEcho(["--http"])
    for each in HTTPCase.all {
      let client = try #require(Connection(port: server.port))
      client.send((each.text + HTTPCase.next).utf8)
      client.endSending()
      let bytes = try #require(client.receiveToEnd(), "\(each.testDescription)")
      let answer = String(decoding: bytes, as: UTF8.self)
      let statuses = answer.matches(of: /HTTP\/1\.1 (\d+) [^\r]+\r\n/).map { Int($0.1) }
      #expect(statuses == each.statuses, "\(each.testDescription): \(answer)")
      let saysThatItEnds = answer.contains("Connection: close\r\n")
      #expect(saysThatItEnds || each.statuses.count == 2, "\(each.testDescription)")
    }
  }

  @Test("However a request is cut into pieces, the result is the same", arguments: HTTPCase.all)
  func pieces(each: HTTPCase) {
    let bytes = Array((each.text + HTTPCase.next).utf8)
    // All in one, and cut everywhere once; long ones at a few places.
    let cuts = max(2, min(bytes.count, 40_000 / bytes.count))
    for cut in stride(from: 0, to: bytes.count, by: bytes.count / cuts) {
      var parser = RequestParser()
      var events: [RequestParser.Event] = []
      for piece in [bytes[..<cut], bytes[cut...]] {
        piece.withUnsafeBytes { parser.append($0.bytes) }
        while let event = parser.next() { events.append(event) }
      }
      let statuses = events.map { event in
        switch event {
        case .request: 200
        case .awaitsContinue: 100
        case .refused(let refusal): refusal.rawValue
        }
      }
      guard statuses == each.statuses else {
        Issue.record("\(statuses), not \(each.statuses), cut at \(cut)")
        return
      }
    }
  }

  @Test("Damaged requests neither trap the parser nor multiply", arguments: 0..<20 as Range<UInt64>)
  func random(seed: UInt64) {
    var numbers = Numbers(state: seed)
    for _ in 0..<500 {
      guard let sample = HTTPCase.all.randomElement(using: &numbers) else { return }
      var text = Array(sample.text.utf8.prefix(2000))
      for _ in 0..<Int.random(in: 0...4, using: &numbers) where !text.isEmpty {
        let place = Int.random(in: 0..<text.count, using: &numbers)
        switch Int.random(in: 0..<3, using: &numbers) {
        case 0: text[place] = UInt8.random(in: 0...255, using: &numbers)
        case 1: text.remove(at: place)
        default: text.insert(contentsOf: text[place...].prefix(9), at: place)
        }
      }
      var parser = RequestParser()
      text.withUnsafeBytes { parser.append($0.bytes) }
      var count = 0
      while parser.next() != nil { count += 1 }
      // The shortest request has 18 bytes.
      #expect(count <= text.count / 18 + 1)
    }
  }

  @Test("100 Continue is sent to clients that wait for it, and only to them")
  func awaitsContinue() throws {
    let server = try RunningEcho(["--http"])
    let client = try #require(Connection(port: server.port))
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    client.send(head.utf8)
    let word = "HTTP/1.1 100 Continue\r\n\r\n"
    #expect(client.receive(word.utf8.count) == Array(word.utf8))
    client.send("hello\(head)hello".utf8)
    client.endSending()
    let answers = client.receiveToEnd().map { String(decoding: $0, as: UTF8.self) }
    #expect(answers == HTTPProgramTests.usual + HTTPProgramTests.usual)
  }

  @Test("An incomplete request is refused", arguments: ["GET", "GET / HTTP/1.1\r\nHost: a\r\n", "\r"])
  func incomplete(text: String) throws {
    let server = try RunningEcho(["--http"])
    let client = try #require(Connection(port: server.port))
    client.send(text.utf8)
    client.endSending()
    #expect(client.receiveToEnd()?.starts(with: "HTTP/1.1 400 ".utf8) == true)
  }
}

/// SplitMix64: the same numbers for the same seed.
private struct Numbers: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var number = state
    number = (number ^ (number >> 30)) &* 0xbf58_476d_1ce4_e5b9
    number = (number ^ (number >> 27)) &* 0x94d0_49bb_1331_11eb
    return number ^ (number >> 31)
  }
}
