// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

/// Listening and its end: listen(), close(), isListening(), the address, port, descriptor and proxy.
@Suite("Documentation: listening", .blocking)
struct DocumentationListenTests {
  @Test("listen(): on the address and port that are given")
  func listening() throws {
    let server = TCPServer(eventBase: nil)
    let reserved = try ReservedPort()
    #expect(server.listen(address: .localHost, port: reserved.number))
    #expect(server.serverAddress == .localHost)
    #expect(server.serverPort == reserved.number)
    #expect(PlainClient("127.0.0.1", port: reserved.number) != nil)
  }

  @Test("listen(): port 0, the default, is one that the kernel chooses")
  func automaticPort() throws {
    let (first, second) = (TCPServer(eventBase: nil), TCPServer(eventBase: nil))
    #expect(first.listen(address: .localHost, port: 0))
    #expect(second.listen(address: .localHost))
    #expect(first.serverPort != 0)
    #expect(second.serverPort != 0)
    #expect(first.serverPort != second.serverPort)
  }

  @Test(
    "listen(): the address any, the default, is every interface",
    arguments: [true, false]
  )
  func anyAddress(byDefault: Bool) throws {
    let server = TCPServer(eventBase: nil)
    #expect(byDefault ? server.listen() : server.listen(address: .any))
    #expect(!Machine.addresses.isEmpty)
    for address in Machine.addresses {
      let client = try #require(PlainClient(address.description, port: server.serverPort), "\(address)")
      #expect(server.waitForNewConnection(msec: 60_000))
      let socket = try #require(server.nextPendingConnection())
      #expect(socket.localAddress == address)
      #expect(socket.peerPort == client.port)
    }
    expectBalanced(server)
  }

  @Test("listen(): true on success, false otherwise")
  func listenResult() throws {
    let server = TCPServer(eventBase: nil)
    #expect(!server.listen(address: try #require(HostAddress("192.0.2.254"))))
    #expect(!server.isListening)
    #expect(server.listen(address: .localHost))
    #expect(server.isListening)
    #expect(!server.listen(address: .localHost))
  }

  @Test("close(): no client is accepted any more")
  func closing() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    var emitted = 0
    server.newConnection.connect { emitted += 1 }
    let reserved = try ReservedPort()
    try #require(server.listen(address: .localHost, port: reserved.number))
    let file = OpenFile(server.socketDescriptor)
    let queued = try #require(PlainClient(to: server))
    server.close()
    #expect(file?.isOpen == false)
    #expect(queued.nextInput() == .failed(ECONNRESET))
    #expect(PlainClient(port: reserved.number) == nil)
    loop.settle(turns: 3)
    #expect(emitted == 0)
    expectBalanced(server)
  }

  @Test(
    "close() ends the connections that are pending, keeps the settings and the last error, and emits nothing"
  )
  func closingWithPending() throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    var emitted = 0
    server.newConnection.connect { emitted += 1 }
    server.acceptError.connect { _ in emitted += 100 }
    server.maxPendingConnections = 7
    server.listenBacklogSize = 11
    server.proxy = .none
    #expect(!server.listen(address: .null))
    try #require(server.listen(address: .localHost))
    let client = try #require(PlainClient(to: server))
    #expect(loop.run { server.hasPendingConnections })
    server.close()
    #expect(client.nextInput() == .end)
    #expect(!server.hasPendingConnections)
    #expect(server.nextPendingConnection() == nil)
    #expect(emitted == 1)
    #expect(server.maxPendingConnections == 7)
    #expect(server.listenBacklogSize == 11)
    #expect(server.proxy == .none)
    #expect(server.serverError == .socketAddressNotAvailable)
    #expect(server.statistics.discardedOnClose == 1)
    expectBalanced(server)
  }

  @Test(
    "isListening: true between listen() and close()"
  )
  func isListening() {
    let server = TCPServer(eventBase: nil)
    #expect(!server.isListening)
    #expect(server.listen(address: .localHost))
    #expect(server.isListening)
    server.close()
    #expect(!server.isListening)
  }

  @Test(
    "serverAddress: null unless the server listens"
  )
  func serverAddress() {
    let server = TCPServer(eventBase: nil)
    #expect(server.serverAddress == .null)
    #expect(server.serverAddress.isNull)
    #expect(server.listen(address: .localHost))
    #expect(server.serverAddress == .localHost)
    server.close()
    #expect(server.serverAddress == .null)
  }

  @Test("serverPort: 0 unless the server listens")
  func serverPort() throws {
    let server = TCPServer(eventBase: nil)
    #expect(server.serverPort == 0)
    #expect(server.listen(address: .localHost))
    #expect(server.serverPort == (try #require(Endpoint(localOf: server.socketDescriptor))).port)
    server.close()
    #expect(server.serverPort == 0)
  }

  @Test(
    "socketDescriptor: the kernel's descriptor of the listening socket, -1 without one"
  )
  func socketDescriptor() {
    let server = TCPServer(eventBase: nil)
    #expect(server.socketDescriptor == -1)
    #expect(server.listen(address: .localHost))
    #expect(Descriptors.option(server.socketDescriptor, SOL_SOCKET, SO_ACCEPTCONN) == 1)
    server.close()
    #expect(server.socketDescriptor == -1)
    #expect(!server.listen(address: .null))
    #expect(server.socketDescriptor == -1)
  }

  @Test("The listening descriptor is non-blocking, close-on-exec, and reuses addresses but never ports")
  func socketOptions() throws {
    let server = TCPServer(eventBase: nil)
    try #require(server.listen(address: .localHost))
    let descriptor = server.socketDescriptor
    #expect(DescriptorFlags(descriptor).isNonBlocking)
    #expect(DescriptorFlags(descriptor).isCloseOnExec)
    #expect(Descriptors.option(descriptor, SOL_SOCKET, SO_REUSEADDR) == 1)
    #expect(Descriptors.option(descriptor, SOL_SOCKET, SO_REUSEPORT) == 0)
    #expect(Descriptors.option(descriptor, SOL_SOCKET, SO_KEEPALIVE) == 0)
  }

  @Test(
    "setSocketDescriptor(): listens on a socket of the program's, and says whether it does"
  )
  func setSocketDescriptor() throws {
    let server = TCPServer(eventBase: nil)
    #expect(!server.setSocketDescriptor(-1))
    #expect(!server.isListening)
    let descriptor = Descriptors.listening()
    #expect(server.setSocketDescriptor(descriptor))
    #expect(server.isListening)
    #expect(server.socketDescriptor == descriptor)
    let client = try #require(PlainClient(to: server))
    #expect(server.waitForNewConnection(msec: 60_000))
    #expect(server.nextPendingConnection()?.peerPort == client.port)
    expectBalanced(server)
  }

  @Test("setSocketDescriptor(): a socket that does not listen is refused, unlike in Qt")
  func listeningStateIsChecked() {
    let server = TCPServer(eventBase: nil)
    let descriptor = Descriptors.stream()
    #expect(!server.setSocketDescriptor(descriptor))
    #expect(server.errorString == "The descriptor is not a listening socket")
    close(descriptor)
  }

  @Test("serverError: the last error")
  func serverError() {
    let server = TCPServer(eventBase: nil)
    #expect(server.serverError == .unknown)
    #expect(!server.listen(address: .null))
    #expect(server.serverError == .socketAddressNotAvailable)
    #expect(!server.setSocketDescriptor(-1))
    #expect(server.serverError == .unsupportedSocketOperation)
  }

  @Test("errorString: the last error as a text")
  func errorString() {
    let server = TCPServer(eventBase: nil)
    #expect(server.errorString == "")
    #expect(!server.listen(address: .null))
    #expect(server.errorString == "The address is not available")
    #expect(!server.setSocketDescriptor(-1))
    #expect(server.errorString == "Invalid socket descriptor")
  }

  @Test("The errors have the numbers of QAbstractSocket::SocketError")
  func errorNumbers() {
    #expect(SocketError.allCases.map(\.rawValue).filter { $0 < 1000 } == Array(-1...22))
    #expect(SocketError.socketAccess.rawValue == 3)
    #expect(SocketError.addressInUse.rawValue == 8)
    #expect(SocketError.unsupportedSocketOperation.rawValue == 10)
    #expect(SocketError.temporary.rawValue == 22)
  }
}
