// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

@Suite("Listening at a path", .blocking)
struct PathListeningTests {
  @Test("A client comes through the path, and the file goes with the server")
  func serves() throws {
    let folder = try SocketFolder()
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    #expect(server.serverPath == nil)
    try #require(server.listen(path: folder.path), "\(server.errorString)")
    #expect(server.isListening)
    #expect(server.serverPath == folder.path)
    #expect(server.serverAddress.isNull && server.serverPort == 0)
    #expect(folder.permissions == 0o660)

    let client = try #require(PlainClient(path: folder.path))
    try #require(loop.run { server.hasPendingConnections })
    let socket = try #require(server.nextPendingConnection())
    #expect(socket.peerAddress.isNull && socket.peerPort == 0)
    #expect(socket.localAddress.isNull && socket.localPort == 0)
    let credentials = try #require(socket.peerCredentials)
    #expect(credentials.processID == getpid())
    #expect(credentials.userID == geteuid() && credentials.groupID == getegid())
    socket.write("hello")
    #expect(client.receive(exactly: 5) == Array("hello".utf8))

    server.close()
    #expect(!folder.hasFile)
    #expect(server.serverPath == nil)
    #expect(server.statistics.acceptQueueLimit == 0)
    expectBalanced(server)
  }

  @Test("Permissions are those asked for", arguments: [UInt16(0o600), 0o666, 0])
  func permissions(_ permissions: UInt16) throws {
    let folder = try SocketFolder()
    let server = TCPServer(eventBase: nil)
    try #require(server.listen(path: folder.path, permissions: permissions))
    #expect(folder.permissions == mode_t(permissions))
  }

  @Test("A path that cannot be listened at is refused with a text, and nothing is left")
  func refused() throws {
    let folder = try SocketFolder()
    let server = TCPServer(eventBase: nil)
    func expectRefused(
      _ path: String,
      permissions: UInt16? = nil,
      _ error: SocketError,
      _ text: String,
      sourceLocation: SourceLocation = #_sourceLocation
    ) {
      #expect(!server.listen(path: path, permissions: permissions), sourceLocation: sourceLocation)
      #expect(server.serverError == error, sourceLocation: sourceLocation)
      #expect(server.errorString == text, sourceLocation: sourceLocation)
      #expect(!server.isListening && server.serverPath == nil, sourceLocation: sourceLocation)
    }
    let length = "The path of a socket has 1 to 107 bytes"
    expectRefused("", .unsupportedSocketOperation, length)
    expectRefused("@", .unsupportedSocketOperation, length)
    expectRefused(String(repeating: "x", count: 108), .unsupportedSocketOperation, length)
    expectRefused(folder.path + "\0x", .unsupportedSocketOperation, "The path of a socket has no NUL")
    expectRefused(
      folder.path,
      permissions: 0o1777,
      .unsupportedSocketOperation,
      "Permissions are numbers from 0 to 0777"
    )
    expectRefused(
      "@name",
      permissions: 0o660,
      .unsupportedSocketOperation,
      "An abstract name has no permissions"
    )
    expectRefused(folder.path + "/x", .hostNotFound, "The folder of the path does not exist")
    #expect(!folder.hasFile)
    try #require(server.listen(path: folder.path))
    #expect(!server.listen(path: folder.path))
    #expect(server.serverError == .operation)
    #expect(!server.listen(address: .localHost))
    #expect(server.serverError == .operation)
  }

  @Test("What an ended server has left is replaced, unless it is to stay")
  func stale() throws {
    let folder = try SocketFolder()
    folder.leaveStale()
    let server = TCPServer(eventBase: nil)
    #expect(!server.listen(path: folder.path, removingStale: false))
    #expect(server.serverError == .addressInUse)
    #expect(folder.hasFile)
    #expect(server.listen(path: folder.path), "\(server.errorString)")
    #expect(PlainClient(path: folder.path) != nil)
  }

  @Test("A second server at the path says so, and the first goes on")
  func second() throws {
    let folder = try SocketFolder()
    let first = try listening(at: folder, on: nil)
    let second = TCPServer(eventBase: nil)
    #expect(!second.listen(path: folder.path))
    #expect(second.serverError == .addressInUse)
    #expect(second.errorString == "The bound address is already in use")
    second.close()
    let client = PlainClient(path: folder.path)
    #expect(client != nil)
    #expect(first.waitForNewConnection(msec: 60_000))
  }

  static let failures = [
    ("chmod", FAULT_CHMOD, EPERM, SocketError.socketAccess, "The permissions cannot be set"),
    ("unlink", FAULT_UNLINK, EACCES, .socketAccess, "The file of an ended server cannot be removed"),
    ("unlink", FAULT_UNLINK, EROFS, .socketAccess, "The file system can only be read"),
    ("lstat", FAULT_LSTAT, ELOOP, .hostNotFound, "The path has too many symbolic links"),
    ("lstat", FAULT_LSTAT, ENOTDIR, .hostNotFound, "A part of the path is not a folder"),
  ]

  @Test("A call that fails is explained", arguments: failures)
  func fails(_ row: (String, fault_call, CInt, SocketError, String)) throws {
    let folder = try SocketFolder()
    folder.leaveStale()
    let server = TCPServer(eventBase: nil)
    fault_fail(row.1, 1, 1, row.2)
    #expect(!server.listen(path: folder.path))
    fault_clear()
    #expect(server.serverError == row.3)
    #expect(server.errorString == row.4)
    #expect(server.listen(path: folder.path))
  }

  @Test("An abstract name has no file; its clients are served")
  func abstractName() throws {
    let name = "@tcpserverkit/\(getpid())/abstractName"
    let server = TCPServer(eventBase: nil)
    try #require(server.listen(path: name), "\(server.errorString)")
    #expect(server.serverPath == name)
    let client = PlainClient(path: name)
    #expect(client != nil)
    #expect(server.waitForNewConnection(msec: 60_000))
  }

  @Test("Options of TCP are left out; those of sockets are set")
  func options() throws {
    let folder = try SocketFolder()
    let server = TCPServer(eventBase: nil)
    for option in SocketOption.allCases where option != .pathMtu {
      #expect(server.setSocketOption(option, option == .sendBufferSize ? 65536 : 1))
    }
    try #require(server.listen(path: folder.path), "\(server.errorString)")
    #expect(server.socketOption(.sendBufferSize) == 131072)
    #expect(!server.setSocketOption(.lowDelay, 1))
    #expect(server.socketOption(.lowDelay) == nil)
    let client = PlainClient(path: folder.path)
    #expect(client != nil)
    let socket = try acceptedSocket(of: server)
    #expect(!socket.setSocketOption(.lowDelay, 1) && !socket.setSocketOption(.userTimeout, 1))
    #expect(socket.socketOption(.lowDelay) == nil)
    #expect(socket.setSocketOption(.keepAlive, 1))
    #expect(socket.setSocketOption(.sendBufferSize, 65536))
    #expect(socket.socketOption(.sendBufferSize) == 131072)
  }

  @Test("A listening UNIX socket is adopted, and its file is left to who made it")
  func adopted() throws {
    let folder = try SocketFolder()
    let server = TCPServer(eventBase: nil)
    let descriptor = try #require(UnixName(folder.path)?.listening())
    try #require(server.setSocketDescriptor(descriptor), "\(server.errorString)")
    #expect(server.serverPath == folder.path)
    #expect(server.serverAddress.isNull)
    let client = PlainClient(path: folder.path)
    #expect(client != nil)
    #expect(try acceptedSocket(of: server).peerCredentials?.processID == getpid())
    server.close()
    #expect(folder.hasFile)
  }

  @Test("An override takes the descriptor, and the permit counts it")
  func overridden() throws {
    let folder = try SocketFolder()
    let loop = try Loop()
    let server = OverridingServer(eventBase: loop.base)
    var taken: [TCPSocket] = []
    server.onIncoming = { server, descriptor in
      #expect(server.incomingPeer?.address.isNull ?? true)
      let socket = TCPSocket(eventBase: loop.base)
      #expect(socket.setSocketDescriptor(descriptor), "\(socket.errorString)")
      taken.append(socket)
    }
    try #require(server.listen(path: folder.path))
    let client = try #require(PlainClient(path: folder.path))
    try #require(loop.run { !taken.isEmpty })
    #expect(server.statistics.live == 1)
    #expect(taken[0].peerCredentials?.userID == geteuid())
    taken[0].write("x")
    #expect(client.receive(exactly: 1) == [120])
    taken[0].abort()
    #expect(server.statistics.live == 0)
  }

  @Test("Admission is asked, and a rejected client is reported without an address")
  func rejected() throws {
    let folder = try SocketFolder()
    let loop = try Loop()
    let server = try listening(at: folder, on: loop.base)
    var asked: [HostAddress] = []
    var rejections: [RejectedConnection] = []
    server.admissionHandler = { address, _ in
      asked.append(address)
      return .reset
    }
    server.connectionRejected.connect { rejections.append($0) }
    let client = try #require(PlainClient(path: folder.path))
    try #require(loop.run { !rejections.isEmpty })
    #expect(asked == [.null])
    #expect(rejections.first?.peerAddress.isNull == true)
    #expect(client.nextInput() == .end, "a UNIX socket has no reset")
  }

  @Test("What the server is limited by leaves the kernel's queue unknown")
  func diagnosis() throws {
    let folder = try SocketFolder()
    let server = try listening(at: folder, on: nil)
    let text = server.diagnose().description
    #expect(text.contains("accept queue: unknown for a UNIX socket; the longest queue is asked for"))
    #expect(text.contains("handshakes: none, a UNIX socket is connected at once"))
  }

  @Test(
    "Shut down by another part of the program, it stops with one error, in a pause as well",
    arguments: [false, true]
  )
  func broken(paused: Bool) throws {
    let folder = try SocketFolder()
    let loop = try Loop()
    let server = try listening(at: folder, on: loop.base)
    var errors = 0
    server.acceptError.connect { _ in errors += 1 }
    if paused { server.pauseAccepting() }
    loop.settle()
    shutdown(server.socketDescriptor, CInt(SHUT_RDWR))
    #expect(loop.run { !server.isListening })
    #expect(errors == 1)
    #expect(!folder.hasFile)
  }
}
