// SPDX-License-Identifier: Apache-2.0

import Glibc
import ProgramTesting
import ServerProgram
import Testing

@Suite("Gateway whose backends hang, and that has few descriptors", .blocking, .timeLimit(.minutes(5)))
struct GatewayBackendTests {
  /// A port where connections hang: its queue is full.
  private final class HangingPort {
    let reserved: ReservedPort
    private let queued: [Connection]

    init(_ reserved: ReservedPort) throws {
      self.reserved = reserved
      try #require(reserved.startListening())
      queued = [
        try #require(Connection(port: reserved.number)), try #require(Connection(port: reserved.number)),
      ]
    }
  }

  @Test("A client of a backend that hangs goes to the next one after --connect")
  func hanging() throws {
    let (echo, hanging) = (try Listening.echo(), try HangingPort(try #require(ReservedPort())))
    let number = hanging.reserved.number
    let gateway = try Listening.gateway(to: [number, echo.port], ["--connect", "1"])
    #expect(try #require(Connection(port: gateway.port)).exchange() == "!")
    #expect(
      try gateway.program.nextLine()
        == "Backend 127.0.0.1:\(number) does not answer: Network operation timed out."
    )
    #expect(try gateway.stop().hasPrefix("Stopped; clients: 1, cut off: 0, without a backend: 0;"))
    withExtendedLifetime(hanging) {}
  }

  @Test("While one client tries a backend that has failed before, the others do not wait for it")
  func trial() throws {
    let (echo, reserved) = (try Listening.echo(), try #require(ReservedPort()))
    let gateway = try Listening.gateway(
      to: [reserved.number, echo.port],
      ["--connect", "3600", "--retry", "0.000001"]
    )
    #expect(try #require(Connection(port: gateway.port)).exchange() == "!")
    let complaint = "Backend 127.0.0.1:\(reserved.number) does not answer: Connection refused."
    #expect(try gateway.program.nextLine() == complaint)
    let hanging = try HangingPort(reserved)
    let trying = try #require(Connection(port: gateway.port))
    trying.send([1])
    for _ in 0..<6 { #expect(try #require(Connection(port: gateway.port)).exchange() == "!") }
    #expect(!trying.isReadable())
    withExtendedLifetime(hanging) {}
  }

  @Test("A lack of the gateway's own descriptors is not a failure of a backend")
  func ownLack() throws {
    let echo = try Listening.echo()
    let gateway = try Listening.gateway(to: [echo.port])
    let first = try #require(Connection(port: gateway.port))
    first.send([1])
    #expect(first.receive(1) == [1])
    // Enough for the client, and not for the connection to the backend.
    let free = try #require((Int32(0)..<4096).filter { !gateway.hasOpen($0) }.dropFirst().first)
    try gateway.limitDescriptors(to: free)
    let unserved = try #require(Connection(port: gateway.port))
    #expect(unserved.receiveToEnd() == nil)
    #expect(try gateway.program.nextLine() == "A client was not served: Out of resources.")
    try gateway.limitDescriptors(to: 1024)
    #expect(try #require(Connection(port: gateway.port)).exchange() == "!")
    first.endSending()
    #expect(first.receiveToEnd() == [])
    let output = try gateway.stop()
    #expect(output.hasPrefix("Stopped; clients: 3, cut off: 1, without a backend: 0;"), "\(output)")
  }

  @Test("Clients and the pipes of their bytes leave the reserve of descriptors alone")
  func descriptorsOfPipes() throws {
    let echo = try Listening.echo()
    let gateway = try Listening.gateway(to: [echo.port], descriptors: 128)
    let use = try DescriptorUse(of: gateway.program, at: gateway.port)
    // A quarter of them is the reserve.
    #expect(use.most <= 96 && use.isComplete, "\(use)")
    #expect(try gateway.stop().hasPrefix("Stopped; clients: 24, cut off: 0, without a backend: 0;"))
  }

  @Test(
    "A relay has two descriptors, its pipes four more, of which a loop has 128 at most and keeps 32",
    arguments: [(1000, 1, 436), (128, 1, 16), (32, 1, 0), (1000, 8, 124)]
  )
  func descriptorsOfRelays(descriptors: Int, loops: Int, relays: Int) {
    #expect(ConnectionLimit.mostRelays(descriptors, descriptorsEach: 2, loops: loops) == relays)
  }
}

extension Listening {
  /// Whether the program has this descriptor.
  fileprivate func hasOpen(_ descriptor: Int32) -> Bool {
    var target: CChar = 0
    return readlink("/proc/\(program.process)/fd/\(descriptor)", &target, 1) > 0
  }

  /// Limits the descriptors of the running program.
  fileprivate func limitDescriptors(to limit: Int32) throws {
    let arguments = ["--pid", "\(program.process)", "--nofile=\(limit):"]
    #expect(try Program(path: "/usr/bin/prlimit", arguments).end().status == 0)
  }
}
