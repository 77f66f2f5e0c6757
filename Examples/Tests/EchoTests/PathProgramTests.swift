// SPDX-License-Identifier: Apache-2.0

import Glibc
import ProgramTesting
import Testing

@Suite("EchoServer --path as a program", .blocking, .timeLimit(.minutes(5)))
struct PathProgramTests {
  /// An EchoServer at the back path of a folder.
  private func echo(in folder: SocketFolder, _ options: [String] = []) throws -> Program {
    let program = try Program("EchoServer", ["--path", folder.back] + options)
    let name = options.contains("--http") ? "HTTP" : "Echo"
    #expect(try program.nextLine() == "\(name) server is listening on \(folder.back).")
    return program
  }

  /// What a command of the shell prints.
  private func output(of command: String) throws -> String {
    let end = try Program(path: "/bin/sh", ["-c", command]).end()
    #expect(end.status == 0, "\(end.errors)")
    return end.output
  }

  private func expectServed(_ count: Int, by program: Program) throws {
    program.send(signal: SIGTERM)
    #expect(
      try program.end() == .init(status: 0, output: "Stopped; connections served: \(count).\n", errors: "")
    )
  }

  @Test(
    "socat and nc get back what they send",
    .enabled(if: isInstalled("/usr/bin/socat") && isInstalled("/usr/bin/nc"), "socat or nc is not installed")
  )
  func echoes() throws {
    let folder = try SocketFolder()
    let server = try echo(in: folder)
    #expect(try output(of: "seq 100000 | socat -t 60 - UNIX-CONNECT:\(folder.back) | cksum") == Self.checksum)
    #expect(try output(of: "seq 100000 | nc -N -U \(folder.back) | cksum") == Self.checksum)
    try expectServed(2, by: server)
    #expect(access(folder.back, F_OK) != 0)
  }

  /// Of what `seq 100000` prints.
  private static let checksum = "2052179976 588895\n"

  @Test(
    "curl asks through a reverse proxy a thousand times",
    .enabled(if: isInstalled("/usr/bin/curl"), "curl is not installed"),
    arguments: Front.allCases.filter(\.isWanted),
    [1, 2]
  )
  func proxied(by front: Front, loops: Int) throws {
    let folder = try SocketFolder()
    let server = try echo(in: folder, ["--http", "--loops", "\(loops)"])
    let proxy = try front.start(in: folder, http: true)
    let answers = try output(of: "curl -sS --unix-socket \(folder.front) 'http://here/[1-1000]'")
    #expect(answers == String(repeating: "hello\n", count: 1000))
    proxy.send(signal: SIGTERM)
    _ = try proxy.end()
    server.send(signal: SIGTERM)
    #expect(try server.end().status == 0)
  }

  @Test(
    "Bytes come back through a reverse proxy that does not look at them",
    .enabled(if: isInstalled("/usr/bin/socat"), "socat is not installed"),
    arguments: Front.allCases.filter(\.isWanted)
  )
  func passed(by front: Front) throws {
    let folder = try SocketFolder()
    let server = try echo(in: folder)
    let proxy = try front.start(in: folder, http: false)
    #expect(
      try output(of: "seq 100000 | socat -t 60 - UNIX-CONNECT:\(folder.front) | cksum") == Self.checksum
    )
    proxy.send(signal: SIGTERM)
    _ = try proxy.end()
    try expectServed(1, by: server)
  }

  @Test("The path of a server that was killed is used again; a second server says that it is in use")
  func killed() throws {
    let folder = try SocketFolder()
    let killed = try echo(in: folder)
    let second = try Program("EchoServer", ["--path", folder.back]).end()
    #expect(second.status != 0)
    #expect(second.errors.contains("Unable to start the server: The bound address is already in use"))
    killed.send(signal: SIGKILL)
    _ = try killed.end()
    #expect(access(folder.back, F_OK) == 0)
    let server = try echo(in: folder)
    try expectServed(0, by: server)
  }
}
