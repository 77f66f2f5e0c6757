// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

private let tool = "/usr/bin/systemd-socket-activate"

/// Programs that systemd's own tool starts when a client comes.
@Suite(
  "Socket activation by systemd-socket-activate",
  .blocking,
  .timeLimit(.minutes(5)),
  .enabled(if: RealProxy.isWanted(tool), "systemd-socket-activate is not installed")
)
struct SocketActivationTests {
  /// Starts the tool with a program of LoopPrograms. What it says itself is not shown.
  private func activate(_ options: [String], _ program: String) throws -> ChildProcess {
    let command = "exec \"$@\" 2>/dev/null"
    let arguments = ["-c", command, "sh", tool] + options + [ChildProcess.folder + "LoopPrograms", program]
    return try #require(ChildProcess(at: "/bin/sh", arguments))
  }

  /// Connects as soon as the tool listens.
  private func connect(to port: ReservedPort) throws -> PlainClient {
    let deadline = ContinuousClock.now + Loop.limit
    while ContinuousClock.now < deadline {
      if let client = PlainClient(port: port.number) { return client }
      sched_yield()
    }
    return try #require(nil)
  }

  @Test("A server accepts the client that has started it, from the socket of its name")
  func listens() throws {
    let (admin, http) = (try ReservedPort(), try ReservedPort())
    let child = try activate(
      ["-l", "127.0.0.1:\(admin.number)", "-l", "127.0.0.1:\(http.number)", "--fdname=admin:http"],
      "activated"
    )
    let client = try connect(to: http)
    #expect(client.readToEnd().bytes == Array("127.0.0.1:\(http.number)\n".utf8))
    client.end()
    #expect(child.readLine() == "inherited [\"admin\", \"http\"]\n")
    #expect(child.readLine() == "left [\"admin\"], LISTEN_FDS is not set\n")
    #expect(child.readLine() == "end\n")
  }

  @Test("Sockets without names are called unknown")
  func unnamed() throws {
    let port = try ReservedPort()
    let child = try activate(["-l", "127.0.0.1:\(port.number)"], "inherited")
    let client = try connect(to: port)
    #expect(child.readLine() == "inherited [\"unknown\"]\n")
    #expect(child.readLine() == "end\n")
    client.end()
  }

  @Test("A program for one connection takes that")
  func accepts() throws {
    let port = try ReservedPort()
    let child = try activate(["-l", "127.0.0.1:\(port.number)", "--accept"], "activated-for-one")
    let client = try connect(to: port)
    client.send("hello\n")
    #expect(client.readToEnd().bytes == Array("HELLO\n".utf8))
    client.end()
    #expect(child.readLine() == "end\n")
    child.send(SIGTERM)
  }
}
