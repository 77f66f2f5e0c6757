// SPDX-License-Identifier: Apache-2.0

import FortuneWire
import Glibc
import ProgramTesting
import Testing

@Suite("Qt's own Fortune Client", .blocking, .timeLimit(.minutes(5)))
struct QtClientTests {
  @Test(
    "It gets a fortune and reads it",
    .enabled(if: RunningQtClient.isWanted, "Qt's examples are not installed"),
    arguments: ServerKind.all
  )
  func fortune(kind: ServerKind) throws {
    let server = try RunningServer(kind.options, program: kind.program)
    _ = try server.program.nextLine()
    let client = try RunningQtClient()
    client.ask(port: server.port)
    let deadline = ContinuousClock.now + Program.limit
    var hasRead = try client.hasRead(oneOf: Fortunes.all)
    while !hasRead, .now < deadline {
      // There is no notification when a program has read something.
      poll(nil, 0, 50)
      hasRead = try client.hasRead(oneOf: Fortunes.all)
    }
    #expect(hasRead)

    server.program.send(signal: SIGTERM)
    let end = try server.program.end()
    #expect(end == .init(status: 0, output: "Stopped; fortunes served: 1.\n", errors: ""))
  }
}
