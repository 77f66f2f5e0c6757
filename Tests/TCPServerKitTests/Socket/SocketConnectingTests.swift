// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

@Suite("Connecting", .blocking)
struct SocketConnectingTests {
  @Test("A client connects by address or by name, through the loop", arguments: ["127.0.0.1", "localhost"])
  func connects(host: String) throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    #expect(server.listen(address: .localHost))
    let client = TCPSocket(eventBase: loop.base)
    let recorder = Recorder(client)
    client.connectToHost(host, port: server.serverPort)
    #expect(client.state == (host == "localhost" ? .hostLookup : .connecting))
    #expect(recorder.events.isEmpty)
    #expect(loop.run { client.state == .connected })
    #expect(recorder.events == [.connected])
    #expect(client.peerAddress == .localHost)
    #expect(client.peerPort == server.serverPort)
    client.abort()
    #expect(recorder.events == [.connected, .disconnected])
  }

  @Test(
    "It waits for the connection without the loop too",
    arguments: ["127.0.0.1", "localhost"],
    [true, false]
  )
  func waits(host: String, hasLoop: Bool) throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: nil)
    #expect(server.listen(address: .localHost))
    let client = TCPSocket(eventBase: hasLoop ? loop.base : nil)
    client.connectToHost(host, port: server.serverPort)
    #expect(client.waitForConnected(msec: 60_000))
    #expect(client.state == .connected)
    #expect(client.waitForConnected(msec: 0), "it is already")
    let accepted = try acceptedSocket(of: server)
    accepted.write("hello")
    #expect(client.waitForReadyRead(msec: 60_000))
    #expect(text(client.readAll()) == "hello")
  }

  @Test("HostAddress.any means this machine, and so do 0.0.0.0 and a mapped address")
  func anyIsLocal() throws {
    let server = TCPServer(eventBase: nil)
    #expect(server.listen(address: .localHost))
    let mapped = try #require(HostAddress.localHost.ipv4Mapped)
    for address in [HostAddress.any, .anyIPv4, mapped] {
      let client = TCPSocket(eventBase: nil)
      client.connectToHost(address, port: server.serverPort)
      #expect(client.waitForConnected(msec: 60_000), "\(address)")
    }
  }

  @Test("A client connects over IPv6", .enabled(if: Machine.hasIPv6))
  func connectsIPv6() throws {
    let server = TCPServer(eventBase: nil)
    #expect(server.listen(address: .localHostIPv6))
    let client = TCPSocket(eventBase: nil)
    client.connectToHost("::1", port: server.serverPort)
    #expect(client.waitForConnected(msec: 60_000))
    #expect(client.peerAddress == .localHostIPv6)
  }

  // MARK: - Failure

  enum Way: CaseIterable, Sendable {
    case loop, waitWithLoop, waitWithoutLoop
  }

  /// Runs a connection attempt to its end in each way there is; returns what it reported.
  private func attempt(_ way: Way, _ start: (TCPSocket) -> Void) throws -> (SocketError, [Recorder.Event]) {
    let loop = try Loop()
    let socket = TCPSocket(eventBase: way == .waitWithoutLoop ? nil : loop.base)
    let recorder = Recorder(socket)
    start(socket)
    if way == .loop {
      #expect(loop.run { socket.state == .unconnected })
    } else {
      let begin = ContinuousClock.now
      #expect(!socket.waitForConnected(msec: 60_000))
      #expect(ContinuousClock.now - begin < .seconds(30), "a failure is no timeout")
    }
    loop.settle(turns: 3)
    #expect(socket.state == .unconnected)
    #expect(socket.socketDescriptor == -1)
    let error = socket.error
    #expect(!socket.waitForDisconnected(msec: 0), "there never was a connection")
    return (error, recorder.events)
  }

  @Test("A port without a server refuses", arguments: Way.allCases)
  func refused(way: Way) throws {
    let closed = try ReservedPort()
    let (_, events) = try attempt(way) { $0.connectToHost(.localHost, port: closed.number) }
    #expect(events == [.errorOccurred(.connectionRefused, .connecting)])
  }

  @Test("A refused connection has its text")
  func refusedText() throws {
    let closed = try ReservedPort()
    let socket = TCPSocket(eventBase: nil)
    socket.connectToHost("127.0.0.1", port: closed.number)
    #expect(!socket.waitForConnected(msec: 60_000))
    #expect(socket.error == .connectionRefused)
    #expect(socket.errorString == "Connection refused")
  }

  @Test("A name without an address is not found", arguments: Way.allCases)
  func hostNotFound(way: Way) throws {
    // .invalid never resolves, and the space keeps a resolver from being asked.
    let (_, events) = try attempt(way) { $0.connectToHost("no such host.invalid", port: 1) }
    #expect(events == [.errorOccurred(.hostNotFound, .connecting)])
  }

  @Test("The null address and the broadcast address cannot be connected to", arguments: Way.allCases)
  func unusableAddress(way: Way) throws {
    for address in [HostAddress.null, .broadcast] {
      let (error, events) = try attempt(way) { $0.connectToHost(address, port: 1) }
      #expect(events == [.errorOccurred(error, .connecting)])
      #expect(![.hostNotFound, .socketTimeout, .unknown].contains(error))
    }
  }

  @Test("connectToHost() on a socket that is connected or connecting is refused and changes nothing")
  func refusedWhenInUse() throws {
    let server = TCPServer(eventBase: nil)
    #expect(server.listen(address: .localHost))
    let client = TCPSocket(eventBase: nil)
    client.connectToHost(.localHost, port: server.serverPort)
    client.connectToHost(.localHost, port: 1)
    #expect(client.error == .operation)
    #expect(client.errorString == "connectToHost() called when already connected or connecting")
    #expect(client.waitForConnected(msec: 60_000))
    client.connectToHost("localhost", port: 1)
    #expect(client.error == .operation)
    #expect(client.state == .connected)
    #expect(client.peerPort == server.serverPort)
  }

  // MARK: - Giving up

  @Test("An attempt can be given up without a signal", arguments: ["127.0.0.1", "localhost"])
  func givenUp(host: String) throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    #expect(server.listen(address: .localHost))
    let client = TCPSocket(eventBase: loop.base)
    let recorder = Recorder(client)
    client.connectToHost(host, port: server.serverPort)
    client.disconnectFromHost()
    #expect(client.state == .unconnected)
    client.connectToHost(host, port: server.serverPort)
    client.abort()
    #expect(client.state == .unconnected)
    loop.settle()
    #expect(recorder.events.isEmpty)
  }

  @Test("A failed attempt that was given up and replaced does not end its successor")
  func replaced() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    #expect(server.listen(address: .localHost))
    let client = TCPSocket(eventBase: loop.base)
    let recorder = Recorder(client)
    client.connectToHost(.null, port: 1)
    client.abort()
    client.connectToHost(.localHost, port: server.serverPort)
    #expect(loop.run { client.state == .connected })
    loop.settle()
    #expect(recorder.events == [.connected])
  }

  @Test("The same socket connects again, after a failure and after a connection")
  func again() throws {
    let closed = try ReservedPort()
    let server = TCPServer(eventBase: nil)
    #expect(server.listen(address: .localHost))
    let client = TCPSocket(eventBase: nil)
    for _ in 0..<3 {
      client.connectToHost(.localHost, port: closed.number)
      #expect(!client.waitForConnected(msec: 60_000))
      client.connectToHost(.localHost, port: server.serverPort)
      #expect(client.waitForConnected(msec: 60_000))
      let accepted = try acceptedSocket(of: server)
      accepted.write("hello")
      accepted.disconnectFromHost()
      #expect(client.waitForDisconnected(msec: 60_000))
      #expect(text(client.readAll()) == "hello")
    }
  }

  @Test("A handler of errorOccurred may abort and connect again, and that connection lives")
  func reconnectInErrorHandler() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    #expect(server.listen(address: .localHost))
    let (client, peer) = try connectedPair(loop.base)
    var errors = 0
    client.errorOccurred.connect { [unowned client] _ in
      errors += 1
      client.abort()
      client.connectToHost(.localHost, port: server.serverPort)
    }
    // A reset, so that the error is one of reading.
    peer.reset()
    #expect(loop.run { errors == 1 })
    #expect(loop.run { client.state == .connected })
    loop.settle()
    #expect(client.state == .connected)
    #expect(errors == 1)
    client.errorOccurred.disconnectAll()
    client.abort()
  }

  @Test("A host with several addresses is tried at each")
  func severalAddresses() throws {
    // localhost has ::1 first where there is IPv6, and there is no listener there, not even one of another test.
    let server = TCPServer(eventBase: nil)
    #expect(server.listen(address: .localHost))
    let reserved = Machine.hasIPv6 ? try ReservedPort(server.serverPort, of: "::1") : nil
    defer { withExtendedLifetime(reserved) {} }
    let client = TCPSocket(eventBase: nil)
    client.connectToHost("localhost", port: server.serverPort)
    #expect(client.waitForConnected(msec: 60_000))
    #expect(client.peerAddress == .localHost)
  }

  @Test("Other waits wait for the connection first")
  func otherWaits() throws {
    let server = TCPServer(eventBase: nil)
    #expect(server.listen(address: .localHost))
    let client = TCPSocket(eventBase: nil)
    client.connectToHost("localhost", port: server.serverPort)
    #expect(!client.waitForBytesWritten(msec: 60_000), "nothing is held")
    #expect(client.state == .connected)
  }

  @Test("A wait of the longest number of milliseconds, while connecting, waits")
  func longestWait() throws {
    let server = TCPServer(eventBase: nil)
    try #require(server.listen(address: .localHost))
    let client = TCPSocket(eventBase: nil)
    client.connectToHost(.localHost, port: server.serverPort)
    #expect(try acceptedSocket(of: server).write("x") == 1)
    #expect(client.waitForReadyRead(msec: .max))
    expectBalanced(server)
  }

  @Test("Without a descriptor to connect with, it says so")
  func noDescriptor() throws {
    let loop = try Loop()
    defer { fault_clear() }
    let client = TCPSocket(eventBase: loop.base)
    var told: SocketError?
    client.errorOccurred.connect { told = $0 }
    fault_fail(FAULT_SOCKET, 1, 1, EMFILE)
    client.connectToHost(.localHost, port: 1)
    #expect(loop.run { told != nil })
    #expect(told == .socketResource)
    #expect(client.errorString == "Out of resources")
    #expect(client.state == .unconnected)
  }

  @Test("A socket that the loop cannot watch ends with an error, instead of waiting for ever")
  func notWatched() throws {
    let loop = try Loop()
    defer { fault_clear() }
    let (socket, peer) = try connectedPair(loop.base)
    var told: SocketError?
    fault_fail(FAULT_EPOLL_CTL, 1, 1, ENOMEM)
    socket.errorOccurred.connect { told = $0 }  // from now on it is to be watched
    #expect(loop.run { told != nil })
    #expect(told == .socketResource)
    #expect(socket.errorString == "Out of resources")
    #expect(socket.state == .unconnected)
    withExtendedLifetime(peer) {}
  }
}
