// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

@Suite("Sockets that connect to a path", .blocking)
struct PathSocketTests {
  @Test("connected is emitted after the call, and peers have credentials and no address")
  func connects() throws {
    let folder = try SocketFolder()
    let loop = try Loop()
    let server = try listening(at: folder, on: loop.base)
    let socket = TCPSocket(eventBase: loop.base)
    let recorder = Recorder(socket)
    socket.connectToServer(path: folder.path)
    #expect(socket.state == .connecting && recorder.events.isEmpty)
    #expect(loop.run { socket.state == .connected })
    #expect(recorder.events == [.connected])
    #expect(socket.peerAddress.isNull && socket.peerPort == 0)
    #expect(socket.peerCredentials?.processID == getpid())
    socket.connectToServer(path: folder.path)
    #expect(socket.error == .operation)
    #expect(socket.errorString == "connectToServer() called on a socket in use")
    let accepted = try acceptedSocket(of: server)
    accepted.write("hello")
    #expect(loop.run { socket.bytesAvailable == 5 })
    accepted.disconnectFromHost()
    #expect(loop.run { recorder.isDisconnected })
    #expect(socket.peerCredentials == nil)
  }

  @Test("Without a loop, waiting connects")
  func withoutLoop() throws {
    let folder = try SocketFolder()
    let server = try listening(at: folder, on: nil)
    let socket = TCPSocket(eventBase: nil)
    socket.connectToServer(path: folder.path)
    socket.write("early")
    #expect(socket.waitForConnected(msec: 60_000))
    let accepted = try acceptedSocket(of: server)
    #expect(accepted.waitForReadyRead(msec: 60_000))
    #expect(text(accepted.readAll()) == "early")
  }

  enum Nowhere: String, CaseIterable {
    case nothing = "There is no server at the path"
    case stale = "Connection refused"
    case tooLong = "The path of a socket has 1 to 107 bytes"
    case datagrams = "The path is not that of a stream socket"
    case noDescriptor = "Out of resources"
  }

  @Test("Where there is no server the reason is reported, and once", arguments: Nowhere.allCases)
  func fails(_ what: Nowhere) throws {
    let folder = try SocketFolder()
    let loop = try Loop()
    let other = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    defer { close(other) }
    var path = folder.path
    switch what {
    case .nothing, .noDescriptor: break
    case .stale: folder.leaveStale()
    case .tooLong: path = String(repeating: "x", count: 108)
    case .datagrams: #expect(UnixName(path)?.bind(other) == true)
    }
    let socket = TCPSocket(eventBase: loop.base)
    let recorder = Recorder(socket)
    if what == .noDescriptor { fault_fail(FAULT_SOCKET, 1, 1, EMFILE) }
    socket.connectToServer(path: path)
    #expect(recorder.events.isEmpty)
    #expect(loop.run { !recorder.events.isEmpty })
    fault_clear()
    let error: SocketError =
      switch what {
      case .nothing: .hostNotFound
      case .stale: .connectionRefused
      case .tooLong, .datagrams: .unsupportedSocketOperation
      case .noDescriptor: .socketResource
      }
    #expect(recorder.events == [.errorOccurred(error, .connecting)])
    #expect(socket.errorString == what.rawValue)
    #expect(socket.state == .unconnected)
  }

  @Test("A server whose queue is full is tried again until there is room, or the time is over")
  func fullQueue() throws {
    let folder = try SocketFolder()
    let listener = try #require(UnixName(folder.path)?.listening(backlog: 0))
    defer { close(listener) }
    var clients: [PlainClient] = []
    while let client = PlainClient(path: folder.path) { clients.append(client) }
    #expect(errno == EAGAIN)

    let impatient = TCPSocket(eventBase: nil)
    impatient.connectToServer(path: folder.path)
    #expect(!impatient.waitForConnected(msec: 20))
    #expect(impatient.error == .socketTimeout && impatient.state == .connecting)
    impatient.abort()
    #expect(impatient.state == .unconnected)

    let loop = try Loop()
    let socket = TCPSocket(eventBase: loop.base)
    socket.connectToServer(path: folder.path)
    loop.settle()
    #expect(socket.state == .connecting)
    let accepted = try #require(clients.first.map { _ in accept(listener, nil, nil) })
    defer { close(accepted) }
    #expect(loop.run { socket.state == .connected })
  }

  @Test("A queue that stays full is an error after 30 seconds")
  func fullForever() throws {
    let folder = try SocketFolder()
    let listener = try #require(UnixName(folder.path)?.listening(backlog: 0))
    defer { close(listener) }
    var clients: [PlainClient] = []
    while let client = PlainClient(path: folder.path) { clients.append(client) }
    fault_stop_clock()
    defer { fault_reset_clock() }
    let socket = TCPSocket(eventBase: nil)
    socket.connectToServer(path: folder.path)
    #expect(!socket.waitForConnected(msec: 0))
    fault_advance_clock(29_999)
    #expect(!socket.waitForConnected(msec: 0))
    #expect(socket.state == .connecting)
    fault_advance_clock(60)
    #expect(!socket.waitForConnected(msec: 60_000))
    #expect(socket.state == .unconnected)
    #expect(socket.errorString == "Connection timed out")
  }

  @Test("A pair of UNIX sockets is taken over; one without a peer is refused")
  func adopted() throws {
    var ends: [CInt] = [-1, -1]
    try #require(
      unsafe socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0
    )
    let peer = PlainClient(adopting: ends[1])
    let socket = TCPSocket(eventBase: nil)
    try #require(socket.setSocketDescriptor(ends[0]), "\(socket.errorString)")
    #expect(socket.peerAddress.isNull)
    #expect(socket.peerCredentials?.processID == getpid())
    socket.write("x")
    #expect(peer.receive(exactly: 1) == [120])
    let descriptor = socket.detach()
    #expect(descriptor == ends[0])
    #expect(socket.peerCredentials == nil)

    // The peer has gone, and what it wrote is there.
    peer.send("rest")
    peer.end()
    let second = TCPSocket(eventBase: nil)
    try #require(second.setSocketDescriptor(descriptor), "\(second.errorString)")
    #expect(second.waitForReadyRead(msec: 60_000))
    #expect(text(second.readAll()) == "rest")
    #expect(!second.waitForReadyRead(msec: 60_000))
    #expect(second.error == .remoteHostClosed)
  }

  @Test("Closing throws away what a client still sends, so that the client sees no reset")
  func lingers() throws {
    let folder = try SocketFolder()
    let loop = try Loop()
    let server = try listening(at: folder, on: loop.base)
    let client = try #require(PlainClient(path: folder.path))
    let socket = try acceptedSocket(of: server)
    socket.write("answer")
    socket.disconnectFromHost()
    #expect(socket.state == .closing)
    for _ in 0..<5 {
      client.send([UInt8](repeating: 1, count: 50_000))
      loop.settle(turns: 5)
    }
    #expect(socket.state == .closing)
    #expect(client.receive(exactly: 6) == Array("answer".utf8))
    #expect(client.nextInput() == .end)
    client.endWriting()
    #expect(loop.run { socket.state == .unconnected })
    #expect(client.input() == .end)
  }

  @Test("A client that closes without reading is noticed")
  func gone() throws {
    let folder = try SocketFolder()
    let loop = try Loop()
    let server = try listening(at: folder, on: loop.base)
    let client = try #require(PlainClient(path: folder.path))
    let socket = try acceptedSocket(of: server)
    let recorder = Recorder(socket)
    socket.write("unread")
    client.end()
    #expect(loop.run { recorder.isDisconnected })
    #expect(recorder.events.contains(.errorOccurred(.remoteHostClosed, .connected)))
  }

  @Test("Megabytes that a closing socket holds are delivered")
  func bulk() throws {
    let folder = try SocketFolder()
    let loop = try Loop()
    let server = try listening(at: folder, on: loop.base)
    let client = try #require(PlainClient(path: folder.path))
    let socket = try acceptedSocket(of: server)
    let count = 3 << 20
    socket.write([UInt8](repeating: 3, count: count))
    socket.disconnectFromHost()
    var received = 0
    #expect(
      loop.run {
        received += client.receivedCount()
        return received == count
      }
    )
    client.end()
    #expect(loop.run { socket.state == .unconnected })
    #expect(server.statistics.undelivered == 0)
  }
}

@Suite("Sockets that connect to a path, in tasks", .timeLimit(.minutes(5)))
struct PathTaskTests {
  @Test("connect(path:) throws why there is no connection, and can be cancelled")
  func fails() async throws {
    try await onLoop { _ in
      let folder = try SocketFolder()
      let socket = TCPSocket()
      await #expect(throws: SocketError.hostNotFound) { try await socket.connect(path: folder.path) }
      let listener = try #require(UnixName(folder.path)?.listening(backlog: 0))
      defer { close(listener) }
      var clients: [PlainClient] = []
      while let client = PlainClient(path: folder.path) { clients.append(client) }
      await #expect(throws: SocketError.socketTimeout) {
        try await socket.connect(path: folder.path, timeout: .milliseconds(20))
      }
      #expect(socket.state == .unconnected)
      let connecting = start { try await socket.connect(path: folder.path) }
      connecting.cancel()
      await #expect(throws: CancellationError.self) { try await connecting.value }
      #expect(socket.state == .unconnected)
      clients.removeAll()
      _ = fcntl(listener, F_SETFL, O_NONBLOCK)
      while case let one = accept(listener, nil, nil), one >= 0 { close(one) }
      try await socket.connect(path: folder.path)
      #expect(socket.state == .connected)
    }
  }
}
