// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

@testable import TCPServerKit

private func address(_ literal: String) -> HostAddress {
  HostAddress(literal) ?? .null
}

/// Two listening sockets with one port, on addresses of their own; neither is ever accepted from.
private final class TwoHosts {
  static let first = address("127.0.0.2")
  static let second = address("127.0.0.3")

  private(set) var descriptors: [CInt] = []
  private var guests: [PlainClient] = []
  private(set) var port: UInt16 = 0

  /// - Parameter isFirstSilent: the queue of the first one is full, so that the kernel drops what comes.
  init(isFirstSilent: Bool) throws {
    // The port that the kernel gives for one address may be in use on the other.
    for _ in 0..<20 where descriptors.count < 2 {
      close()
      guard let first = Self.listening(on: "127.0.0.2", port: 0, backlog: isFirstSilent ? 0 : 10) else {
        continue
      }
      descriptors = [first]
      port = try #require(Endpoint(localOf: first)).port
      if let second = Self.listening(on: "127.0.0.3", port: port, backlog: 10) { descriptors.append(second) }
    }
    try #require(descriptors.count == 2)
    if isFirstSilent {
      guests = [try #require(PlainClient("127.0.0.2", port: port))]
      try #require(Descriptors.waitReadable(descriptors[0]))
    }
  }

  deinit {
    close()
  }

  private func close() {
    descriptors.forEach { Glibc.close($0) }
    descriptors = []
  }

  func closeFirst() {
    Glibc.close(descriptors.removeFirst())
  }

  private static func listening(on address: String, port: UInt16, backlog: CInt) -> CInt? {
    let descriptor = Descriptors.stream()
    if let endpoint = Endpoint(address, port: port), endpoint.bind(descriptor),
      listen(descriptor, backlog) == 0
    {
      return descriptor
    }
    Glibc.close(descriptor)
    return nil
  }
}

@Suite("One connection out of several addresses")
struct TCPConnectorTests {
  /// Expects a connection to the second host, which it closes.
  private func expectSecondHost(_ connector: TCPConnector, _ hosts: TwoHosts) {
    guard case .connected(let descriptor) = finish(connector) else {
      Issue.record("It has failed")
      return
    }
    #expect(Endpoint(peerOf: descriptor)?.port == hosts.port)
    #expect(connector.address?.host == TwoHosts.second)
    close(descriptor)
  }

  /// Goes on until the end, as a blocking caller does.
  private func finish(_ connector: TCPConnector) -> TCPConnector.Progress {
    while true {
      let progress = connector.advance()
      guard case .waiting = progress else { return progress }
      _ = SystemCalls.waitForAny(connector.awaited, until: connector.deadline)
    }
  }

  @Test("While an address is silent the next one is tried beside it, and the first that answers is taken")
  func silentAddress() throws {
    let hosts = try TwoHosts(isFirstSilent: true)
    let connector = TCPConnector(
      to: "host",
      addresses: [TwoHosts.first, TwoHosts.second],
      port: hosts.port,
      attemptDelay: .milliseconds(1)
    )
    expectSecondHost(connector, hosts)
    #expect(connector.attemptCount == 2)
    #expect(connector.awaited.count == 1, "the silent attempt is open until the connector goes")
  }

  @Test("After a refusal the next address is tried at once")
  func refusal() throws {
    let hosts = try TwoHosts(isFirstSilent: false)
    hosts.closeFirst()
    let connector = TCPConnector(
      to: "host",
      addresses: [TwoHosts.first, TwoHosts.second],
      port: hosts.port,
      attemptDelay: .seconds(3600)
    )
    expectSecondHost(connector, hosts)
  }

  @Test("A socket that is bound to a port tries one address at a time")
  func bound() throws {
    let hosts = try TwoHosts(isFirstSilent: true)
    let local = SocketAddress(host: .anyIPv4, port: 0)
    let connector = TCPConnector(
      to: "host",
      addresses: [TwoHosts.first, TwoHosts.second],
      port: hosts.port,
      boundTo: (local, descriptor: -1),
      attemptDelay: .zero
    )
    for _ in 0..<2 {
      guard case .waiting = connector.advance() else {
        Issue.record("It does not wait for the silent address")
        return
      }
    }
    #expect(connector.attemptCount == 1)
    #expect(connector.deadline == nil)
  }

  @Test("An address that must not be connected to is left out; where none is left, that is the reason")
  func refused() throws {
    let hosts = try TwoHosts(isFirstSilent: false)
    let refusal = Failure(.socketAccess, "Not this one")
    let connector = TCPConnector(
      to: "host",
      addresses: [TwoHosts.first, TwoHosts.second],
      port: hosts.port
    ) {
      $0 == TwoHosts.first ? refusal : nil
    }
    expectSecondHost(connector, hosts)
    #expect(connector.attemptCount == 1)

    let hopeless = TCPConnector(to: "host", addresses: [TwoHosts.first], port: hosts.port) { _ in refusal }
    guard case .failed(let failure) = finish(hopeless) else {
      Issue.record("It has connected")
      return
    }
    #expect(failure.error == .socketAccess)
    #expect(failure.text == "Not this one")
  }

  @Test("The families take turns, the first address's own first (RFC 8305, 4)")
  func families() throws {
    let (a, b, c) = (address("10.0.0.1"), address("10.0.0.2"), address("10.0.0.3"))
    let (x, y) = (address("2001:db8::1"), address("2001:db8::2"))
    #expect(TCPConnector.alternatingFamilies([a, b, c, x, y]) == [a, x, b, y, c])
    #expect(TCPConnector.alternatingFamilies([x, y, a]) == [x, a, y])
    #expect(TCPConnector.alternatingFamilies([a, b]) == [a, b])
    #expect(TCPConnector.alternatingFamilies([]) == [])
  }
}
