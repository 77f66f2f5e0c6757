// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

/// The cases of Qt's own test of QTcpServer about descriptors, addresses and other processes.
@Suite("Qt's cases: descriptors and addresses", .blocking)
struct QtServerSocketCases {
  @Test("S11: a closed descriptor is refused, then the same server adopts a listening one")
  func adopting() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    #expect(!server.setSocketDescriptor(CInt.max))
    #expect(server.serverError == .unsupportedSocketOperation)
    let listener = Descriptors.listening(on: "0.0.0.0")
    try #require(listener >= 0)
    #expect(server.setSocketDescriptor(listener))
    #expect(server.isListening)
    let client = try #require(PlainClient(port: server.serverPort))
    #expect(loop.run { server.hasPendingConnections })
    #expect(server.nextPendingConnection()?.peerPort == client.port)
    expectBalanced(server)
  }

  @Test("S12: a second listen() is refused, says why, and leaves the first alone")
  func listeningTwice() throws {
    let server = TCPServer(eventBase: nil)
    try #require(server.listen(address: .localHost))
    let (port, descriptor) = (server.serverPort, server.socketDescriptor)
    #expect(!server.listen(address: .localHost))
    #expect(server.serverError == .operation)
    #expect(server.errorString == "listen() called when already listening")
    #expect(server.isListening)
    #expect(server.serverPort == port)
    #expect(server.socketDescriptor == descriptor)
    let client = PlainClient(to: server)
    #expect(client != nil)
    #expect(server.waitForNewConnection(msec: 60_000))
    expectBalanced(server)
  }

  @Test("S13: the port of a server that crashed with a client connected can be listened on at once")
  func portOfACrashedServer() throws {
    let server = TCPServer(eventBase: nil)
    let reserved = try ReservedPort()
    let port = reserved.number
    let child = try #require(ChildProcess("CrashingServer", "\(port)"), "the program was not built")
    try #require(child.readLine() == "listening\n")
    let client = try #require(PlainClient(port: port))
    #expect(child.waitForSignal() == SIGKILL)
    #expect(client.nextInput() == .end)
    client.end()
    #expect(server.listen(address: .localHost, port: port), "\(server.errorString)")
    expectBalanced(server)
  }

  @Test("S14: an override may switch the descriptor to blocking and close it")
  func blockingDescriptor() throws {
    let server = OverridingServer(eventBase: nil)
    var switched = false
    server.onIncoming = { _, descriptor in
      let status = fcntl(descriptor, F_GETFL)
      switched = fcntl(descriptor, F_SETFL, status & ~O_NONBLOCK) == 0
      close(descriptor)
    }
    try #require(server.listen(address: .localHost))
    let client = try #require(PlainClient(to: server))
    #expect(!server.waitForNewConnection(msec: 50), "nothing is pending")
    #expect(switched)
    #expect(client.nextInput() == .end)
    expectBalanced(server)
  }

  static let wildcards: [HostAddress] = [.any, .anyIPv4, .anyIPv6]

  @Test("S18: serverAddress is the address that was listened on", arguments: wildcards + Machine.addresses)
  func serverAddress(_ address: HostAddress) throws {
    let server = TCPServer(eventBase: nil)
    guard server.listen(address: address) else {
      // Tentative and vanished addresses, and a kernel without IPv6.
      #expect([.socketAddressNotAvailable, .unsupportedSocketOperation].contains(server.serverError))
      return
    }
    #expect(server.serverAddress == (address == .any && !Machine.hasIPv6 ? .anyIPv4 : address))
  }

  @Test(
    "S19: a second server cannot listen on a port that is taken",
    arguments: wildcards + Machine.addresses
  )
  func portTaken(_ address: HostAddress) {
    let first = TCPServer(eventBase: nil)
    guard first.listen(address: address) else { return }
    let second = TCPServer(eventBase: nil)
    #expect(!second.listen(address: address, port: first.serverPort))
    #expect(second.serverError == .addressInUse)
    #expect(!second.isListening)
    #expect(second.socketDescriptor == -1)
  }

  @Test(
    "S20: each link-local address has a server on one port, for clients bound to it or not",
    .enabled(if: !Machine.linkLocalAddresses.isEmpty, "no link-local address here")
  )
  func linkLocal() throws {
    var port: UInt16 = 0
    var servers: [TCPServer] = []
    for address in Machine.linkLocalAddresses {
      let server = TCPServer(eventBase: nil)
      try #require(server.listen(address: address, port: port), "\(address): \(server.errorString)")
      port = server.serverPort
      servers.append(server)
    }
    for server in servers {
      let text = server.serverAddress.description
      let unbound = try #require(PlainClient(text, port: port))
      let bound = try #require(PlainClient(text, port: port, from: text))
      for client in [unbound, bound] {
        #expect(server.hasPendingConnections || server.waitForNewConnection(msec: 60_000))
        let socket = try #require(server.nextPendingConnection())
        #expect(socket.peerAddress == server.serverAddress)
        #expect(socket.peerPort == client.port)
        socket.close()
        #expect(client.nextInput() == .end)
      }
      #expect(!server.hasPendingConnections)
      expectBalanced(server)
    }
  }
}
