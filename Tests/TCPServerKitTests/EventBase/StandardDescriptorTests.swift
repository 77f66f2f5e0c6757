// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

@Suite("Standard descriptors")
struct StandardDescriptorTests {
  @Test("In a program that was started without them, nothing of the library gets their numbers")
  func startedWithoutThem() throws {
    let child = try #require(
      ChildProcess("CrashingServer", "standard-descriptors"),
      "the program was not built"
    )
    #expect(child.readLine() == "used: \n")
  }
}
