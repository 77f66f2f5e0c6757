// SPDX-License-Identifier: Apache-2.0

import FortuneWire
import Glibc
import ProgramTesting
import Testing

@Suite("Fortune Server and Fortune Client as programs", .blocking, .timeLimit(.minutes(5)))
struct FortuneProgramTests {
  @Test("A client gets one fortune as Qt writes it, then the end")
  func bareFraming() throws {
    let server = try RunningServer()
    for _ in 1...20 {
      let bytes = try #require(Connection(port: server.port)?.receiveToEnd())
      let fortune = try #require(try FortuneWire.decode(bytes, framing: .bare))
      #expect(Fortunes.all.contains(fortune))
      #expect(FortuneWire.encode(fortune, framing: .bare) == bytes)
    }
  }

  @Test("With --legacy-framing it gets the older form")
  func legacyFraming() throws {
    let server = try RunningServer(["--legacy-framing"])
    let bytes = try #require(Connection(port: server.port)?.receiveToEnd())
    let fortune = try #require(try FortuneWire.decode(bytes, framing: .lengthPrefixed))
    #expect(Fortunes.all.contains(fortune))
    #expect(FortuneWire.encode(fortune, framing: .lengthPrefixed) == bytes)
  }

  @Test("The client prints a fortune in either framing", arguments: [[], ["--legacy-framing"]])
  func client(options: [String]) throws {
    let server = try RunningServer(options)
    let client = try Program("FortuneClient", ["127.0.0.1", "\(server.port)"] + options).end()
    #expect(client.status == 0)
    #expect(client.errors == "")
    #expect(Fortunes.all.contains(String(client.output.dropLast())))
  }

  @Test("The client looks up names and never prints one fortune twice in a row")
  func count() throws {
    let server = try RunningServer()
    let client = try Program("FortuneClient", ["localhost", "\(server.port)", "--count", "30"]).end()
    #expect(client.status == 0)
    let lines = client.output.split(separator: "\n")
    #expect(lines.count == 30)
    #expect(zip(lines, lines.dropFirst()).allSatisfy { $0 != $1 })
  }

  @Test("The client says what is wrong", arguments: [[], ["--legacy-framing"]])
  func wrongFraming(options: [String]) throws {
    let server = try RunningServer(options)
    let other = options.isEmpty ? ["--legacy-framing"] : []
    let client = try Program("FortuneClient", ["127.0.0.1", "\(server.port)"] + other).end()
    #expect(client.status == 1)
    #expect(client.output == "")
    #expect(client.errors.contains("not a fortune"))
  }

  @Test("The client reports a port without a server")
  func nobodyListens() throws {
    let port = try #require(ReservedPort()).number
    let client = try Program("FortuneClient", ["127.0.0.1", "\(port)"]).end()
    #expect(client.status == 1)
    let complaint = "Error: Unable to connect to 127.0.0.1, port \(port): Connection refused\n"
    #expect(client.errors == complaint)
  }

  @Test("A second server on the same port says so and fails")
  func portTaken() throws {
    let server = try RunningServer()
    let second = try Program("FortuneServer", ["--address", "127.0.0.1", "--port", "\(server.port)"]).end()
    #expect(second.status == 1)
    #expect(second.output == "")
    let complaint = "Error: Unable to start the server: The bound address is already in use\n"
    #expect(second.errors == complaint)
  }

  @Test("A lack of descriptors is reported as a text", arguments: 5...9)
  func fewDescriptors(count: Int) throws {
    let path = try Program.path(of: "FortuneServer")
    let command = ["--nofile=\(count):", path, "--address", "127.0.0.1", "--port", "0"]
    let end = try Program(path: "/usr/bin/prlimit", command).end()
    #expect(end.status == 1)
    #expect(end.errors.contains(/^Error: Unable to start the server: .+ .+\n$/), "\(end.errors)")
  }

  @Test("Ctrl-C and SIGTERM end the server in order", arguments: [SIGINT, SIGTERM])
  func signals(signal: Int32) throws {
    let server = try RunningServer()
    _ = try server.program.nextLine()
    #expect(Connection(port: server.port)?.receiveToEnd() != nil)
    server.program.send(signal: signal)
    let end = try server.program.end()
    #expect(end == .init(status: 0, output: "Stopped; fortunes served: 1.\n", errors: ""))
  }

  @Test("A typing error in an option is explained", arguments: ["FortuneServer", "FortuneClient"])
  func typingError(program: String) throws {
    let end = try Program(program, ["--prot", "1"]).end()
    #expect(end.status == 64)
    #expect(end.errors.contains("Unknown option '--prot'"))
  }

  @Test("A host name is no address to listen on")
  func badAddress() throws {
    let end = try Program("FortuneServer", ["--address", "localhost"]).end()
    #expect(end.status == 64)
    #expect(end.errors.contains("'localhost' is not an IPv4 or IPv6 address"))
  }
}
