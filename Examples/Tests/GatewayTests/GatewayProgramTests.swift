// SPDX-License-Identifier: Apache-2.0

import Glibc
import ProgramTesting
import Testing

@Suite("Gateway as a program", .blocking, .timeLimit(.minutes(5)))
struct GatewayProgramTests {
  @Test("What clients send comes back through it, at a port and at a path, and is counted")
  func relays() throws {
    let echo = try Listening.echo()
    let folder = try TemporaryFolder()
    let path = folder.path + "/socket"
    let gateway = try Listening.gateway(to: [echo.port], ["--listen", path, "--loops", "2"])
    #expect(try gateway.program.nextLine() == "Gateway is listening on \(path).")
    #expect(try #require(Connection(port: gateway.port)).exchange() == "!")
    #expect(try #require(Connection(path: path)).exchange() == "!")
    let output = try gateway.stop()
    #expect(
      output == """
        Stopped; clients: 2, cut off: 0, without a backend: 0; bytes: 2 up, 2 down.
        Backend 127.0.0.1:\(echo.port): 2 clients.

        """
    )
    #expect(access(path, F_OK) != 0)
  }

  @Test("A backend at a path is connected to")
  func backendAtPath() throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/socket"
    let echo = try Program("EchoServer", ["--path", path])
    #expect(try echo.nextLine() == "Echo server is listening on \(path).")
    let gateway = try Listening("Gateway", ["--listen", "127.0.0.1:0", "--backend", path])
    #expect(try #require(Connection(port: gateway.port)).exchange() == "!")
  }

  @Test("A backend at the same port of another address is connected to")
  func samePort() throws {
    let echo = try Listening.echo()
    let gateway = try Program(
      "Gateway",
      ["--listen", "127.0.0.2:\(echo.port)", "--backend", "127.0.0.1:\(echo.port)"]
    )
    #expect(try gateway.nextLine() == "Gateway is listening on 127.0.0.2, port \(echo.port).")
  }

  @Test("Backends take turns")
  func turns() throws {
    let echoes = [try Listening.echo(), try Listening.echo()]
    let gateway = try Listening.gateway(to: echoes.map(\.port))
    for _ in 0..<6 { #expect(try #require(Connection(port: gateway.port)).exchange() == "!") }
    let output = try gateway.stop()
    for echo in echoes { #expect(output.contains("Backend 127.0.0.1:\(echo.port): 3 clients.")) }
  }

  @Test("A backend that is down costs no client, and is reported once")
  func backendDown() throws {
    let (echo, reserved) = (try Listening.echo(), try #require(ReservedPort()))
    let gateway = try Listening.gateway(to: [reserved.number, echo.port])
    for _ in 0..<20 { #expect(try #require(Connection(port: gateway.port)).exchange() == "!") }
    let output = try gateway.stop()
    let complaint = "Backend 127.0.0.1:\(reserved.number) does not answer: Connection refused.\n"
    #expect(output.hasPrefix(complaint + "Stopped; clients: 20, cut off: 0, without a backend: 0;"))
    #expect(output.contains("Backend 127.0.0.1:\(reserved.number): 0 clients."))
  }

  @Test("Without any backend a client is reset; one that comes back is reported, and serves the next")
  func noBackend() throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/socket"
    let gateway = try Listening("Gateway", ["--listen", "127.0.0.1:0", "--backend", path])
    #expect(try #require(Connection(port: gateway.port)).receiveToEnd() == nil)
    #expect(try gateway.program.nextLine()?.hasPrefix("Backend \(path) does not answer: ") == true)
    let echo = try Program("EchoServer", ["--path", path])
    #expect(try echo.nextLine() != nil)
    #expect(try #require(Connection(port: gateway.port)).exchange() == "!")
    #expect(try gateway.program.nextLine() == "Backend \(path) answers again.")
    #expect(try gateway.stop().hasPrefix("Stopped; clients: 2, cut off: 0, without a backend: 1;"))
  }

  @Test("A client that sends and does not read holds up itself alone")
  func slowClient() throws {
    let echo = try Listening.echo()
    let gateway = try Listening.gateway(to: [echo.port])
    let slow = try #require(Connection(port: gateway.port))
    let most = 64 << 20
    slow.sendElsewhere(most, of: [UInt8](repeating: 1, count: 65536))
    #expect(slow.isReadable(within: 30_000))
    for _ in 0..<20 { #expect(try #require(Connection(port: gateway.port)).exchange() == "!") }
    // Once it reads, nothing is missing.
    #expect(slow.receiveToEnd()?.count == most)
  }

  @Test("A client without a first byte ends at --first-byte; one that is idle at --idle is reset")
  func deadlines() throws {
    let echo = try Listening.echo()
    let silent = try Listening.gateway(to: [echo.port], ["--first-byte", "0.3"])
    #expect(try #require(Connection(port: silent.port)).isEnded())
    let idle = try Listening.gateway(to: [echo.port], ["--idle", "0.05"])
    let client = try #require(Connection(port: idle.port))
    client.send([1])
    // Before or after its echo.
    #expect(client.receiveToEnd() == nil)
  }

  @Test("A source has as many connections as it may, and a further one is reset")
  func perSource() throws {
    let echo = try Listening.echo()
    let gateway = try Listening.gateway(to: [echo.port], ["--per-source", "1"])
    let first = try #require(Connection(port: gateway.port))
    first.send([1])
    #expect(first.receive(1) == [1])
    #expect(try #require(Connection(port: gateway.port)).receiveToEnd() == nil)
    first.send([2])
    #expect(first.receive(1) == [2])
  }

  @Test("SIGUSR1 and SIGUSR2 append what each place is doing")
  func dump() throws {
    let echo = try Listening.echo()
    let folder = try TemporaryFolder()
    let file = folder.path + "/dump"
    let gateway = try Listening.gateway(to: [echo.port], ["--listen", "127.0.0.1:0", "--dump", file])
    #expect(try gateway.program.nextLine()?.hasPrefix("Gateway is listening on 127.0.0.1, port ") == true)
    for (signal, mark) in [(SIGUSR1, "server on 127.0.0.1"), (SIGUSR2, "{\"address\":\"127.0.0.1\"")] {
      gateway.program.send(signal: signal)
      let deadline = ContinuousClock.now + Program.limit
      while textOfFile(file).split(separator: "\n").count(where: { $0.hasPrefix(mark) }) < 2 {
        try #require(ContinuousClock.now < deadline, "\(textOfFile(file))")
        usleep(1000)
      }
    }
  }

  @Test(
    "Arguments that make no sense are explained",
    arguments: [
      ([], "Missing expected argument '--listen <listen> ...'"),
      (
        ["--listen", "here"],
        "'here' is neither HOST:PORT, with a port from 0 to 65535, nor a path that begins with /."
      ),
      (["--listen", "::1:80"], "'::1:80': an IPv6 address before a port is written in brackets."),
      (["--listen", ":80"], "':80' has no host before the port; * is all addresses."),
      (["--listen", "name:80"], "'name:80'"),
      (["--listen", "@"], "'@' is no path of a socket: those have 2 to 107 bytes."),
      (["--listen", "*:0"], "Missing expected argument '--backend <backend> ...'"),
      (["--listen", "*:0", "--backend", "*:1"], "'*:1' is nothing to connect to"),
      (["--listen", "*:0", "--backend", "a:0"], "'a:0' is nothing to connect to"),
      (["--listen", "*:0", "--backend", "a:+80"], "'a:+80' is neither HOST:PORT"),
      (["--listen", "*:0", "--backend", "a:"], "'a:' is neither HOST:PORT"),
      (["--listen", "/a", "--backend", "b:1", "--backend", "/a"], "--backend /a leads to --listen /a: "),
      (["--listen", "/tmp/a", "--backend", "/tmp/../tmp//a"], "--backend /tmp/../tmp//a leads to "),
      (["--listen", "*:80", "--backend", "127.0.0.1:80"], "--backend 127.0.0.1:80 leads to --listen *:80: "),
      (["--listen", "*:80", "--backend", "localhost:80"], "--backend localhost:80 leads to "),
      (["--listen", "[::]:80", "--backend", "[::1]:80"], "--backend [::1]:80 leads to --listen [::]:80: "),
      (["--listen", "0.0.0.0:80", "--backend", "127.0.0.2:80"], "--backend 127.0.0.2:80 leads to "),
      (["--listen", "127.0.0.1:80", "--backend", "0.0.0.0:80"], "--backend 0.0.0.0:80 leads to "),
      (
        ["--listen", "*:0", "--backend", "a:1", "--behind-proxy", "10.0.0.0/33"],
        "\"10.0.0.0/33\" is no network"
      ),
      (
        ["--listen", "/a", "--backend", "a:1", "--behind-proxy", "10.0.0.0/8"],
        "--behind-proxy needs unix: for --listen /a."
      ),
      (
        ["--listen", "@a", "--backend", "a:1", "--behind-proxy", "unix:"],
        "--behind-proxy unix: needs a path with a file: any process can connect to an abstract name, here @a."
      ),
      (
        ["--listen", "*:0", "--backend", "a:1", "--behind-proxy", "unix:"],
        "--behind-proxy needs a network for --listen *:0."
      ),
      (["--listen", "*:0", "--backend", "a:1", "--send-proxy", "v3"], "'v1' and 'v2'"),
      (["--listen", "/a", "--backend", "a:1", "--per-source", "1"], "clients of /a do not have"),
      (
        ["--listen", "*:0", "--backend", "a:1", "--accept-rate", "0"],
        "--accept-rate takes a number from 1 on."
      ),
      (
        ["--listen", "*:0", "--backend", "a:1", "--first-byte", "0"], "--first-byte takes a number of seconds"
      ),
      (["--listen", "*:0", "--backend", "a:1", "--loops", "0"], "--loops takes a number from 1 to 256."),
      (["--listen", "*:0", "--backend", "a:1", "--retry", "0"], "--retry takes a number of seconds"),
      (
        ["--listen", "*:0", "--backend", "a:1", "--drain-delay=-1"], "--drain-delay takes a number of seconds"
      ),
    ]
  )
  func badArguments(arguments: [String], reason: String) throws {
    let end = try Program("Gateway", arguments).end()
    #expect(end.status == 64)
    #expect(end.errors.contains(reason), "\(end.errors)")
  }

  @Test("A place where it cannot listen is named")
  func taken() throws {
    let echo = try Listening.echo()
    let arguments = ["--listen", "127.0.0.1:\(echo.port)", "--backend", "/run/backend"]
    let end = try Program("Gateway", arguments).end()
    #expect(end.status == 1)
    #expect(
      end.errors
        == "Error: Unable to start the server: 127.0.0.1:\(echo.port): The bound address is already in use\n"
    )
  }
}
