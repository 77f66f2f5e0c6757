// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

/// Kinds of descriptors that a socket must not take over, each with what it says about it.
enum RefusedBySocket: String, CaseIterable, CustomTestStringConvertible {
  case minusOne = "Invalid socket descriptor; -1"
  case closed = "Invalid socket descriptor"
  case file = "The descriptor is not a socket; a file"
  case pipe = "The descriptor is not a socket; a pipe"
  case udp = "The descriptor is not a stream socket; UDP"
  case vsock = "The descriptor is not an IPv4, IPv6 or UNIX socket; vsock"
  case listening = "The descriptor is not a connected socket; listening"
  case unconnected = "The descriptor is not a connected socket; unconnected"
  case unconnectedUnix = "The descriptor is not a connected socket; unconnected UNIX"

  /// What the socket has to say.
  var text: String {
    String(rawValue.prefix { $0 != ";" })
  }

  var testDescription: String {
    rawValue
  }

  func open() -> CInt {
    switch self {
    case .minusOne: -1
    case .closed: CInt.max
    case .file: unsafe Glibc.open("/proc/self/stat", O_RDONLY)
    case .pipe: Descriptors.pipeEnd()
    case .udp: socket(AF_INET, CInt(SOCK_DGRAM.rawValue), 0)
    case .vsock: Descriptors.stream(AF_VSOCK)
    case .listening: Descriptors.listening()
    case .unconnected: Descriptors.stream()
    case .unconnectedUnix: Descriptors.stream(AF_UNIX)
    }
  }
}

@Suite("A socket's descriptor", .blocking)
struct SocketDescriptorTests {
  @Test("setSocketDescriptor() refuses and does not touch", arguments: RefusedBySocket.allCases)
  func refused(kind: RefusedBySocket) {
    let descriptor = kind.open()
    defer { if descriptor >= 0 && descriptor < .max { close(descriptor) } }
    let file = OpenFile(descriptor)
    let flags = DescriptorFlags(descriptor)
    let socket = TCPSocket(eventBase: nil)
    #expect(!socket.setSocketDescriptor(descriptor))
    #expect(socket.error == .unsupportedSocketOperation)
    #expect(socket.errorString == kind.text)
    #expect(socket.socketDescriptor == -1)
    #expect(socket.state == .unconnected)
    #expect(OpenFile(descriptor) == file)
    #expect(DescriptorFlags(descriptor) == flags)
  }

  @Test("An adopted connection is non-blocking, close-on-exec, connected, and the socket's to close")
  func adopted() throws {
    let listener = Descriptors.listening()
    defer { close(listener) }
    let port = try #require(Endpoint(localOf: listener)).port
    let peer = try #require(PlainClient(port: port))
    let descriptor = accept(listener, nil, nil)
    let file = try #require(OpenFile(descriptor))
    #expect(!DescriptorFlags(descriptor).isNonBlocking)

    var socket: TCPSocket? = TCPSocket(eventBase: nil)
    #expect(socket?.setSocketDescriptor(descriptor) == true)
    #expect(socket?.state == .connected)
    #expect(socket?.socketDescriptor == descriptor)
    #expect(DescriptorFlags(descriptor).isNonBlocking)
    #expect(DescriptorFlags(descriptor).isCloseOnExec)
    #expect(socket?.peerAddress == .localHost)
    #expect(socket?.peerPort == peer.port)
    #expect(socket?.localAddress == .localHost)
    #expect(socket?.localPort == Endpoint(localOf: listener)?.port)
    socket?.write("hello")
    #expect(text(peer.receive(exactly: 5)) == "hello")
    peer.send("reply")
    #expect(socket?.waitForReadyRead(msec: 60_000) == true)
    #expect(text(socket?.readAll()) == "reply")
    socket = nil
    #expect(!file.isOpen)
    #expect(peer.nextInput() == .end)
  }

  @Test("An adopted connection works on a loop, its handlers connected before or after")
  func adoptedOnLoop() throws {
    let loop = try Loop()
    for connectsFirst in [true, false] {
      let (source, peer) = try connectedPair(nil)
      let socket = TCPSocket(eventBase: loop.base)
      var received: [UInt8] = []
      if connectsFirst {
        socket.readyRead.connect { received += socket.readAll() }
      }
      #expect(socket.setSocketDescriptor(source.detach()))
      if !connectsFirst {
        socket.readyRead.connect { received += socket.readAll() }
      }
      peer.send("data")
      #expect(loop.run { received.count == 4 })
      socket.abort()
      socket.readyRead.disconnectAll()
    }
  }

  @Test("A connected socket refuses another descriptor, which stays as it was")
  func refusedWhenConnected() throws {
    let (socket, peer) = try connectedPair(nil)
    let (other, otherPeer) = try connectedPair(nil)
    #expect(!socket.setSocketDescriptor(other.socketDescriptor))
    #expect(socket.error == .operation)
    #expect(socket.errorString == "setSocketDescriptor() called when already connected")
    #expect(other.state == .connected)
    otherPeer.send("x")
    #expect(other.waitForReadyRead(msec: 60_000))
    peer.send("x")
    #expect(socket.waitForReadyRead(msec: 60_000))
  }

  @Test("A connection that the peer has reset meanwhile is adopted, and ends as connections do")
  func adoptReset() throws {
    let loop = try Loop()
    let (source, peer) = try connectedPair(nil)
    peer.reset()
    #expect(Descriptors.waitReset(source.socketDescriptor))
    let descriptor = source.detach()
    let socket = TCPSocket(eventBase: loop.base)
    let recorder = Recorder(socket)
    #expect(socket.setSocketDescriptor(descriptor))
    #expect(socket.state == .connected)
    #expect(loop.run { recorder.isDisconnected })
    #expect(recorder.events == [.errorOccurred(.remoteHostClosed, .connected), .disconnected])
    #expect(socket.waitForDisconnected(msec: 0), "it had been connected")
  }

  @Test("One socket adopts one connection after another, and keeps nothing of the one before")
  func adoptAgain() throws {
    let socket = TCPSocket(eventBase: nil)
    for round in 0..<3 {
      let (source, peer) = try connectedPair(nil)
      #expect(socket.setSocketDescriptor(source.detach()))
      peer.send("round \(round)")
      peer.endWriting()
      #expect(socket.waitForReadyRead(msec: 60_000))
      #expect(!socket.waitForReadyRead(msec: 60_000), "the end")
      #expect(socket.bytesAvailable == 7)
      socket.finishWriting()
      #expect(peer.nextInput() == .end)
      socket.disconnectFromHost()
      #expect(socket.state == .unconnected)
    }
  }

  // MARK: - detach()

  @Test("detach() gives the connection away without a signal, open and usable")
  func detach() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    let recorder = Recorder(socket)
    let file = try #require(OpenFile(socket.socketDescriptor))
    let descriptor = socket.detach()
    #expect(descriptor == file.descriptor)
    #expect(file.isOpen)
    #expect(DescriptorFlags(descriptor).isNonBlocking)
    #expect(DescriptorFlags(descriptor).isCloseOnExec)
    #expect(socket.state == .unconnected)
    #expect(socket.socketDescriptor == -1)
    peer.send("x")
    loop.settle()
    #expect(recorder.events.isEmpty)
    #expect(socket.detach() == -1)
    #expect(socket.errorString == "Socket is not connected")

    let other = TCPSocket(eventBase: nil)
    #expect(other.setSocketDescriptor(descriptor))
    #expect(other.waitForReadyRead(msec: 60_000))
    #expect(text(other.readAll()) == "x")
  }

  @Test("detach() within readyRead works once all is read")
  func detachInHandler() throws {
    let loop = try Loop()
    let (socket, peer) = try connectedPair(loop.base)
    var refused: CInt = 0
    var descriptor: CInt = -1
    socket.readyRead.connect { [unowned socket] in
      refused = socket.detach()
      _ = socket.readAll()
      descriptor = socket.detach()
    }
    peer.send("x")
    #expect(loop.run { descriptor >= 0 })
    #expect(refused == -1)
    close(descriptor)
    #expect(peer.nextInput() == .end)
  }

  @Test("detach() refuses while bytes are unread or unsent, and nothing is lost")
  func detachRefused() throws {
    let (socket, peer) = try connectedPair(nil, tight: true)
    peer.send("unread")
    #expect(socket.waitForReadyRead(msec: 60_000))
    #expect(socket.detach() == -1)
    #expect(socket.error == .operation)
    #expect(socket.errorString == "detach() called with unread or unsent bytes")
    #expect(socket.state == .connected)
    #expect(text(socket.readAll()) == "unread")

    let all = pattern(1 << 20)
    socket.write(all)
    #expect(socket.bytesToWrite > 0)
    #expect(socket.detach() == -1)
    #expect(socket.error == .operation)
    let delivery = peer.readToEndElsewhere()
    while socket.bytesToWrite > 0 {
      try #require(socket.waitForBytesWritten(msec: 60_000))
    }
    let descriptor = socket.detach()
    #expect(descriptor >= 0)
    close(descriptor)
    #expect(delivery.join() == .whole(all))
  }

  // MARK: - Addresses

  @Test("Both ends of an IPv4 connection know each other's address")
  func addressesIPv4() throws {
    let (accepted, client) = try connectedSockets(nil)
    #expect(accepted.peerAddress == .localHost)
    #expect(accepted.localAddress == .localHost)
    #expect(accepted.peerPort == client.localPort)
    #expect(accepted.localPort == client.peerPort)
    #expect(client.peerAddress == .localHost)
    #expect(client.peerPort != 0)
    accepted.abort()
    #expect(accepted.peerAddress == .localHost, "stays readable after the end")
    #expect(accepted.peerPort == client.localPort)
    #expect(accepted.localAddress == .null)
    #expect(accepted.localPort == 0)
  }

  @Test("Those of an IPv6 connection do too", .enabled(if: Machine.hasIPv6))
  func addressesIPv6() throws {
    let (socket, peer) = try connectedPair(nil, ipv6: true)
    #expect(socket.peerAddress == .localHostIPv6)
    #expect(socket.localAddress == .localHostIPv6)
    #expect(socket.peerPort == peer.port)
  }

  @Test("An IPv4 peer of a dual-stack server is its IPv4 address", .enabled(if: Machine.hasIPv6))
  func addressesDualStack() throws {
    let server = TCPServer(eventBase: nil)
    #expect(server.listen(address: .any))
    let peer = try #require(PlainClient(to: server))
    let socket = try acceptedSocket(of: server)
    #expect(socket.peerAddress == .localHost)
    #expect(socket.peerAddress.isIPv4)
    #expect(socket.peerAddress.description == "127.0.0.1")
    #expect(socket.localAddress == .localHost)

    // Adopted, the kernel is asked instead; the answer is the same.
    let other = TCPSocket(eventBase: nil)
    #expect(other.setSocketDescriptor(socket.detach()))
    #expect(other.peerAddress == .localHost)
    #expect(other.peerAddress.isIPv4)
    #expect(other.peerPort == peer.port)
  }

  // MARK: - Options

  /// What each option is set to, and what the kernel makes of it.
  static let optionRows: [(SocketOption, Int, Int)] = [
    (.lowDelay, 1, 1), (.keepAlive, 1, 1), (.typeOfService, 0x10, 0x10),
    (.sendBufferSize, 20000, 40000), (.receiveBufferSize, 20000, 40000),
    (.keepAliveIdle, 77, 77), (.keepAliveInterval, 7, 7), (.keepAliveCount, 3, 3), (.userTimeout, 5000, 5000),
  ]

  @Test("Options reach the kernel", arguments: optionRows, [false, true])
  func options(_ row: (option: SocketOption, value: Int, result: Int), ipv6: Bool) throws {
    guard !ipv6 || Machine.hasIPv6 else { return }
    let (socket, peer) = try connectedPair(nil, ipv6: ipv6)
    defer { peer.end() }
    #expect(socket.setSocketOption(row.option, row.value))
    #expect(socket.socketOption(row.option) == row.result)
  }

  @Test(
    "The type of service of a dual-stack connection holds for its IPv4 packets",
    .enabled(if: Machine.hasIPv6)
  )
  func typeOfServiceDualStack() throws {
    let server = TCPServer(eventBase: nil)
    #expect(server.listen(address: .any))
    let peer = try #require(PlainClient(to: server))
    defer { peer.end() }
    let socket = try acceptedSocket(of: server)
    #expect(socket.setSocketOption(.typeOfService, 0x20))
    #expect(socket.socketOption(.typeOfService) == 0x20)
    #expect(Descriptors.option(socket.socketDescriptor, CInt(IPPROTO_IP), CInt(IP_TOS)) == 0x20)
  }

  @Test("The path's maximum transmission unit can be read but not set")
  func pathMtu() throws {
    let (socket, peer) = try connectedPair(nil)
    defer { peer.end() }
    #expect(socket.socketOption(.pathMtu) ?? 0 > 500)
    #expect(!socket.setSocketOption(.pathMtu, 1500))
  }

  @Test("An unconnected socket has no options, and a value that the kernel does not take is refused")
  func optionsRefused() throws {
    let unconnected = TCPSocket(eventBase: nil)
    for option in SocketOption.allCases {
      #expect(unconnected.socketOption(option) == nil)
      #expect(!unconnected.setSocketOption(option, 1))
    }
    let (socket, peer) = try connectedPair(nil)
    defer { peer.end() }
    #expect(!socket.setSocketOption(.keepAliveIdle, -1))
    #expect(!socket.setSocketOption(.sendBufferSize, .max))
  }

  @Test("The options' and states' numbers are Qt's")
  func numbers() {
    #expect(SocketOption.allCases.map(\.rawValue) == [0, 1, 4, 5, 6, 7, 8, 9, 10, 1000])
    #expect(SocketState.unconnected.rawValue == 0)
    #expect(SocketState.hostLookup.rawValue == 1)
    #expect(SocketState.connecting.rawValue == 2)
    #expect(SocketState.connected.rawValue == 3)
    #expect(SocketState.bound.rawValue == 4)
    #expect(SocketState.listening.rawValue == 5)
    #expect(SocketState.closing.rawValue == 6)
  }
}
