// SPDX-License-Identifier: Apache-2.0

import Glibc
import ProgramTesting
import Testing

@Suite("Chat as a program", .blocking, .timeLimit(.minutes(5)))
struct ChatProgramTests {
  private let program: Program
  private let port: UInt16

  init() throws {
    // Members are silent for as long as the test is held up.
    let patience = ["--first-byte", "3600", "--idle", "3600"]
    program = try Program("Chat", ["--address", "127.0.0.1", "--port", "0"] + patience)
    let line = try program.nextLine() ?? ""
    guard let match = line.wholeMatch(of: /Chat is listening on 127\.0\.0\.1, port (\d+)\./),
      let port = UInt16(match.1)
    else {
      throw UnexpectedOutput(line: line)
    }
    self.port = port
  }

  /// A member, once the room has it.
  private func join(_ name: String, as number: Int) throws -> Connection {
    let member = try #require(Connection(port: port))
    member.send("\(name)\n".utf8)
    expect("* \(name) has joined; members: \(number).\n", at: member)
    return member
  }

  private func expect(_ text: String, at member: Connection) {
    let received = String(decoding: member.receive(text.utf8.count), as: UTF8.self)
    #expect(received == text)
  }

  @Test("200 members read what each of them writes, in one order")
  func manyMembers() throws {
    let count = 200
    var members: [Connection] = []
    for number in 1...count {
      members.append(try join("member-\(number)", as: number))
    }
    // What came while the room filled.
    for (index, member) in members.enumerated() where index + 1 < count {
      expect((index + 2...count).map { "* member-\($0) has joined; members: \($0).\n" }.joined(), at: member)
    }
    for (index, member) in members.enumerated() { member.send("line \(index + 1)\n".utf8) }
    let lines = (1...count).map { "member-\($0): line \($0)\n" }
    let length = lines.reduce(0) { $0 + $1.utf8.count }
    var order: [Substring]?
    for (index, member) in members.enumerated() {
      let own = Substring(lines[index].dropLast())
      let text = String(decoding: member.receive(length - lines[index].utf8.count), as: UTF8.self)
      let received = text.split(separator: "\n")
      #expect(Set(received + [own]).count == count)
      // Who writes a line does not read it.
      if let order { #expect(received.filter { $0 != order.last } == order.dropLast().filter { $0 != own }) }
      if order == nil { order = received + [own] }
    }
  }

  @Test("A member that does not read is cut off, and delays no other")
  func slowMember() throws {
    let (writer, reader) = (try join("writer", as: 1), try join("reader", as: 2))
    let slow = try join("slow", as: 3)
    for name in ["reader", "slow"] {
      expect("* \(name) has joined; members: \(name == "slow" ? 3 : 2).\n", at: writer)
    }
    expect("* slow has joined; members: 3.\n", at: reader)
    // More than the program, and the buffers of the kernel, hold for it.
    let line = String(repeating: "x", count: 1000) + "\n"
    var left = false
    for _ in 0..<20_000 where !left {
      writer.send(line.utf8)
      let next = reader.receive("writer: \(line)".utf8.count)
      left = next.starts(with: "* slow has left".utf8)
      if !left { #expect(next == Array("writer: \(line)".utf8)) }
    }
    #expect(left)
    #expect(slow.receiveToEnd() == nil, "reset")
  }

  @Test("Members that leave are announced, and their names are free again")
  func leaving() throws {
    let anna = try join("anna", as: 1)
    let second = try #require(Connection(port: port))
    second.send("anna\n".utf8)
    #expect(second.receiveToEnd() == Array("* There is a anna already.\n".utf8))
    let ben = try join("ben", as: 2)
    expect("* ben has joined; members: 2.\n", at: anna)
    anna.endSending()
    #expect(anna.receiveToEnd() == [])
    expect("* anna has left; members: 1.\n", at: ben)
    let again = try join("anna", as: 2)
    expect("* anna has joined; members: 2.\n", at: ben)
    ben.send("a bell\u{7}, and a colour \u{1b}[31m\n".utf8)
    expect("ben: a bell, and a colour [31m\n", at: again)
  }

  @Test("A line that is too long ends its writer's connection alone")
  func longLine() throws {
    let (anna, ben) = (try join("anna", as: 1), try join("ben", as: 2))
    expect("* ben has joined; members: 2.\n", at: anna)
    anna.send(String(repeating: "x", count: 5000).utf8)
    expect("* anna has left; members: 1.\n", at: ben)
    #expect(anna.isEnded())
  }

  @Test("SIGINT and SIGTERM end it in order", arguments: [SIGINT, SIGTERM])
  func signals(signal: Int32) throws {
    let anna = try join("anna", as: 1)
    anna.endSending()
    #expect(anna.receiveToEnd() == [])
    program.send(signal: signal)
    #expect(try program.end() == .init(status: 0, output: "Stopped; members: 1.\n", errors: ""))
  }

  @Test(
    "Options that make no sense are explained",
    arguments: [["--grace=-1"], ["--held", "0"], ["--idle", "0"]]
  )
  func badOptions(options: [String]) throws {
    #expect(try Program("Chat", options).end().status == 64)
  }
}
