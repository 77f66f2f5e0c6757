// SPDX-License-Identifier: Apache-2.0

import Glibc
import ProgramTesting
import Testing

@Suite("Loopback as a program", .blocking, .timeLimit(.minutes(5)))
struct LoopbackProgramTests {
  @Test("All 50 MiB arrive, and no more than five chunks wait to be written at any time")
  func everything() throws {
    let end = try Program("Loopback", []).end()
    #expect(end.status == 0)
    #expect(end.errors == "")
    let lines = end.output.split(separator: "\n")
    let last = try #require(lines.last)
    let figures = try #require(
      last.wholeMatch(of: /Received (\d+) bytes; the write buffer held (\d+) at most\./)
    )
    #expect(figures.1 == "52428800")
    let largest = try #require(Int(figures.2))
    #expect(largest <= 5 * 65536)
    // The first line says where, then one for each tenth.
    #expect(lines.filter { $0.hasPrefix("Sent ") }.count == 10)
    #expect(lines.dropLast().last == "Sent 50 MiB, received 50 MiB.")
  }

  @Test("A port that is taken is reported")
  func portTaken() throws {
    let taken = try #require(ReservedPort(listening: true))
    let end = try Program("Loopback", ["--port", "\(taken.number)"]).end()
    #expect(end.status == 1)
    #expect(end.output == "")
    #expect(end.errors == "Error: Unable to start the server: The bound address is already in use\n")
  }

  @Test("A typing error in an option is explained")
  func typingError() throws {
    let end = try Program("Loopback", ["--prot", "1"]).end()
    #expect(end.status == 64)
    #expect(end.errors.contains("Unknown option '--prot'"))
  }
}
