// SPDX-License-Identifier: Apache-2.0

import Glibc
import ProgramTesting
import Testing

@Suite("Socks5Bind as a program, behind Dante", .blocking, .timeLimit(.minutes(5)))
struct Socks5BindProgramTests {
  /// The program, with the folder that it stores files in, behind a proxy.
  private final class Running {
    private let proxies: TemporaryFolder
    let folder: TemporaryFolder
    let dante: RunningDante
    let program: Program
    /// Where it is reachable now.
    private(set) var port: UInt16 = 0

    init(_ options: [String] = [], taken: [String] = []) throws {
      proxies = try TemporaryFolder()
      folder = try TemporaryFolder()
      for name in taken { try folder.write("", to: name) }
      dante = try RunningDante.start(in: proxies)
      let proxy = ["--proxy", "127.0.0.1", "--proxy-port", "\(dante.port)"]
      program = try Program("Socks5Bind", [folder.path] + proxy + options)
      let line = try program.nextLine() ?? ""
      let pattern = /Reachable at 127\.0\.0\.1, port (\d+), through SOCKS5 proxy 127\.0\.0\.1:(\d+)\./
      guard let match = line.wholeMatch(of: pattern), let port = UInt16(match.1),
        UInt16(match.2) == dante.port
      else { throw UnexpectedOutput(line: line) }
      self.port = port
    }

    /// Lines up to one that says this, following the port as it changes.
    func line(containing text: String) throws -> String {
      while let line = try program.nextLine() {
        if let match = line.wholeMatch(of: /Now reachable at 127\.0\.0\.1, port (\d+)\./) {
          port = UInt16(match.1) ?? 0
        }
        if line.contains(text) { return line }
      }
      throw UnexpectedOutput(line: "nothing with '\(text)'")
    }
  }

  /// Connects, and has the proxy asked for the next peer meanwhile, so that it gives another port.
  private func connect(to it: Running) throws -> Connection {
    let connection = try #require(Connection(port: it.port))
    _ = try it.line(containing: "Now reachable at")
    return connection
  }

  private func drop(_ bytes: [UInt8], at it: Running) throws -> String {
    let connection = try connect(to: it)
    connection.send(Array("\(bytes.count)\n".utf8) + bytes)
    return text(try #require(connection.receiveToEnd()))
  }

  private func waitUntil(_ isTrue: () -> Bool) throws {
    let deadline = ContinuousClock.now + Program.limit
    while !isTrue() {
      try #require(.now < deadline)
      usleep(1000)
    }
  }

  private func text(_ bytes: [UInt8]) -> String {
    String(decoding: bytes, as: UTF8.self)
  }

  private func end(_ it: Running, stored: Int) throws {
    it.program.send(signal: SIGTERM)
    let end = try it.program.end()
    #expect(end.status == 0)
    #expect(end.output.hasSuffix("Stopped; files stored: \(stored).\n"), "\(end.output)")
    #expect(end.errors == "")
  }

  @Test("Peer after peer leaves a file, and is answered", .enabled(if: RunningDante.isWanted))
  func files() throws {
    let it = try Running(taken: ["drop-7", "drop-x", "drop-"])
    let files = [Array("one\n".utf8), [UInt8](repeating: 7, count: 300_000), []]
    for file in files {
      #expect(try drop(file, at: it) == "Stored \(file.count) bytes.\n")
    }
    #expect(it.folder.names == ["drop-", "drop-10", "drop-7", "drop-8", "drop-9", "drop-x"])
    for (index, file) in files.enumerated() {
      #expect((it.folder.contents(of: "drop-\(index + 8)") == file) as Bool)
    }
    try end(it, stored: 3)
  }

  @Test("Half a file is none, whichever way the peer goes", .enabled(if: RunningDante.isWanted))
  func half() throws {
    let it = try Running()
    let half = Array("200000\n".utf8) + [UInt8](repeating: 7, count: 150_000)

    let resetting = try connect(to: it)
    resetting.send(half)
    // Written up to the last whole piece.
    try waitUntil { it.folder.size >= 131_072 }
    resetting.reset()
    #expect(try it.line(containing: "Not stored: ").contains(/Not stored: 1\d{5} of 200000 bytes/))
    #expect(it.folder.names == [])

    let ending = try connect(to: it)
    ending.send(half)
    ending.endSending()
    #expect(text(try #require(ending.receiveToEnd())) == "Not stored; 150000 of 200000 bytes have come.\n")
    #expect(it.folder.names == [])

    #expect(try drop([1], at: it) == "Stored 1 bytes.\n")
    #expect(it.folder.names == ["drop-1"])
    try end(it, stored: 1)
  }

  @Test("Idle peers are not waited for", .enabled(if: RunningDante.isWanted))
  func idle() throws {
    let it = try Running(["--first-byte", "0.3", "--idle", "0.3"])
    let silent = try connect(to: it)
    #expect(silent.receiveToEnd() == [])
    let slow = try connect(to: it)
    slow.send(Array("100000\n".utf8) + [1, 2, 3])
    #expect(text(try #require(slow.receiveToEnd())) == "Not stored; 3 of 100000 bytes have come.\n")
    #expect(it.folder.names == [])
    try end(it, stored: 0)
  }

  @Test("At the end of the program, what is not complete is not kept", .enabled(if: RunningDante.isWanted))
  func ending() throws {
    let it = try Running()
    let peer = try connect(to: it)
    peer.send("100000\nabc".utf8)
    try waitUntil { !it.folder.names.isEmpty }
    try end(it, stored: 0)
    #expect(it.folder.names == [])
  }

  @Test("What is too long is not stored", .enabled(if: RunningDante.isWanted))
  func tooLong() throws {
    let it = try Running(["--limit", "10", "--ports", "3"])
    let answer = try drop(Array("more than ten bytes".utf8), at: it)
    #expect(answer == "The file is too long; 10 bytes are the most.\n")
    try end(it, stored: 0)
    #expect(it.folder.names == [])
  }

  @Test(
    "A file begins with its size",
    .enabled(if: RunningDante.isWanted),
    arguments: [
      "one\n", "\n", "-1\n", "+1\na", "0x1\na", "1 \na", "99999999999999999999\n", "000000000000000000001\na",
    ]
  )
  func size(text start: String) throws {
    let it = try Running()
    let peer = try connect(to: it)
    peer.send(start.utf8)
    peer.endSending()
    let answer = text(try #require(peer.receiveToEnd()))
    #expect(answer == "A file begins with its size in bytes, in digits, and a newline.\n")
    #expect(it.folder.names == [])
  }

  @Test("It says why it cannot start")
  func failures() throws {
    let folder = try TemporaryFolder()
    let refused = try Program("Socks5Bind", [folder.path, "--proxy", "127.0.0.1", "--proxy-port", "1"]).end()
    #expect(refused.status == 1)
    let complaint = "Connection to proxy refused (SOCKS5 proxy 127.0.0.1:1, set on this server)"
    #expect(refused.errors == "Error: Unable to start the server: \(complaint)\n")

    let clear = try Program("Socks5Bind", [folder.path, "--proxy", "192.0.2.1", "--user", "me"]).end()
    #expect(clear.status == 1)
    #expect(clear.errors.contains("must be 1 to 255 bytes long"), "there is no password")

    let missing = try Program("Socks5Bind", ["/nowhere", "--proxy", "127.0.0.1"]).end()
    #expect(missing.status == 64)
    #expect(missing.errors.contains("'/nowhere' is not a folder that can be written to"))
  }
}
