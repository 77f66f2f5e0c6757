// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

@testable import TCPServerTLS

@Suite("The texts of SSLError")
struct SSLErrorTests {
  @Test("A lack of memory has a text, and an alert its number in it")
  func texts() {
    #expect(SSLError.outOfMemory.text == "There is not enough memory")
    #expect(SSLError.outOfMemory.reason == .memory)
    var error = SSLError(.alert, "Refused")
    #expect("\(error)" == "Refused")
    error.alert = 40
    #expect("\(error)" == "Refused (alert 40)")
  }
}
