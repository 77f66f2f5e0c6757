// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

@Suite("What was set is what is read", .blocking)
struct SettingsTests {
  @Test("At first, and after it was set; what is out of range becomes the nearest that is not")
  func server() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    #expect(server.acceptBatchSize == 64)
    server.acceptBatchSize = 7
    #expect(server.acceptBatchSize == 7)
    #expect(server.listenBacklogSize == .max)
    server.listenBacklogSize = 50
    #expect(server.listenBacklogSize == 50)
    server.listenBacklogSize = .max
    #expect(server.listenBacklogSize == .max)
    #expect(server.expectedDescriptors == 65536)
    server.expectedDescriptors = 100
    #expect(server.expectedDescriptors == 100)
    #expect(server.deliveryTimeout == .seconds(30))
    server.deliveryTimeout = .seconds(1)
    #expect(server.deliveryTimeout == .seconds(1))
  }

  @Test("The same for what a server calls")
  func closures() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    #expect(server.admissionHandler == nil)
    server.admissionHandler = { _, port in port == 1 ? .close : .admit }
    #expect(server.admissionHandler?(.localHost, 1) == .close)
    #expect(server.admissionHandler?(.localHost, 2) == .admit)
    #expect(server.socketPreparation == nil)
    server.socketPreparation = { $0 }
    #expect(server.socketPreparation?(5) == 5)
  }

  @Test("Of a timer: its interval and whether it ticks once")
  func timer() throws {
    let loop = try Loop()
    let timer = EventTimer(interval: .seconds(5), eventBase: loop.base)
    #expect(timer.interval == .seconds(5))
    #expect(!timer.isSingleShot)
    timer.interval = .seconds(6)
    timer.isSingleShot = true
    #expect(timer.interval == .seconds(6))
    #expect(timer.isSingleShot)
    #expect(!timer.isActive, "a timer that is not active stays so")
  }

  @Test("A program's tests may make the values that the library gives")
  func values() {
    let rejected = RejectedConnection(
      peerAddress: .localHost,
      peerPort: 1,
      localAddress: .localHostIPv6,
      localPort: 2,
      reason: .overload
    )
    #expect(rejected.peerAddress == .localHost && rejected.peerPort == 1)
    #expect(rejected.localAddress == .localHostIPv6 && rejected.localPort == 2)
    #expect(rejected.reason == .overload)
  }
}
