// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

/// Kinds of descriptors that a server must not take over, each with what it says about it.
enum Refused: String, CaseIterable, CustomTestStringConvertible {
  case minusOne = "Invalid socket descriptor; -1"
  case closed = "Invalid socket descriptor"
  case pathOnly = "Invalid socket descriptor; opened with O_PATH"
  case file = "The descriptor is not a socket; a file"
  case pipe = "The descriptor is not a socket; a pipe"
  case epoll = "The descriptor is not a socket; an epoll"
  case udp = "The descriptor is not a stream socket; UDP"
  case netlink = "The descriptor is not a stream socket; netlink"
  case vsock = "The descriptor is not an IPv4, IPv6 or UNIX socket; vsock"
  case unbound = "The descriptor is not a listening socket; unbound"
  case bound = "The descriptor is not a listening socket; bound"
  case connected = "The descriptor is not a listening socket; connected"

  /// What the server has to say.
  var text: String {
    String(rawValue.prefix { $0 != ";" })
  }

  var testDescription: String {
    rawValue
  }

  /// A descriptor of this kind; nil where the machine has none.
  func open() -> CInt? {
    let descriptor: CInt =
      switch self {
      case .minusOne: -1
      case .closed: CInt.max
      case .pathOnly: unsafe Glibc.open("/", Self.pathOnlyFlag)
      case .file: unsafe Glibc.open("/proc/self/stat", O_RDONLY)
      case .pipe: Descriptors.pipeEnd()
      case .epoll: Self.anyEpoll()
      case .udp: socket(AF_INET, CInt(SOCK_DGRAM.rawValue), 0)
      case .netlink: socket(AF_NETLINK, CInt(SOCK_RAW.rawValue), 0)
      case .vsock: Descriptors.stream(AF_VSOCK)
      case .unbound: Descriptors.stream()
      case .bound: Self.bound()
      case .connected: Self.connected()
      }
    return descriptor < 0 && self != .minusOne ? nil : descriptor
  }

  /// O_PATH, which the Glibc module does not have.
  private static let pathOnlyFlag: CInt = 0o1000_0000

  /// A duplicate of the one behind a loop, whichever; the Glibc module has no epoll.
  private static func anyEpoll() -> CInt {
    let base = try? EventBase()
    defer { withExtendedLifetime(base) {} }
    for number in 0..<CInt(1024) where isEpoll(number) {
      let copy = fcntl(number, F_DUPFD_CLOEXEC, 0)
      if isEpoll(copy) { return copy }
      close(copy)
    }
    return -1
  }

  private static func isEpoll(_ descriptor: CInt) -> Bool {
    linkTarget(of: "/proc/self/fd/\(descriptor)") == "anon_inode:[eventpoll]"
  }

  private static func bound() -> CInt {
    let descriptor = Descriptors.stream()
    return Endpoint("127.0.0.1", port: 0)?.bind(descriptor) == true ? descriptor : -1
  }

  /// One end of a connection whose other end is still in a listener's queue when both are closed.
  private static func connected() -> CInt {
    let listener = Descriptors.listening()
    defer { close(listener) }
    let descriptor = Descriptors.stream()
    let endpoint = Endpoint(localOf: listener)
    return endpoint?.connect(descriptor) == true ? descriptor : -1
  }
}

@Suite("Adopting a listening descriptor", .blocking)
struct AdoptionTests {
  @Test(
    "A descriptor that cannot serve is refused for its reason and comes back as it was",
    arguments: Refused.allCases
  )
  func refused(_ kind: Refused) throws {
    guard let descriptor = kind.open() else { return }
    defer { close(descriptor) }
    let file = OpenFile(descriptor)
    let flags = DescriptorFlags(descriptor)
    let server = TCPServer(eventBase: try Loop().base)

    #expect(!server.setSocketDescriptor(descriptor))
    #expect(server.serverError == .unsupportedSocketOperation)
    #expect(server.errorString == kind.text)
    #expect(!server.isListening)
    #expect(server.socketDescriptor == -1)
    #expect(server.serverPort == 0)
    #expect(OpenFile(descriptor) == file)
    #expect(DescriptorFlags(descriptor) == flags)
    #expect(server.listen(address: .localHost), "the server is as free as before")
    expectBalanced(server)
  }

  @Test("A refused descriptor still does what it did")
  func refusedStillWorks() throws {
    let server = TCPServer(eventBase: try Loop().base)
    let descriptor = try #require(Refused.bound.open())
    defer { close(descriptor) }
    #expect(!server.setSocketDescriptor(descriptor))
    #expect(listen(descriptor, 1) == 0)
    let port = try #require(Endpoint(localOf: descriptor)).port
    let client = PlainClient(port: port)
    #expect(client != nil)
    // Still blocking: a descriptor of the caller's own does not change its manners.
    let accepted = accept(descriptor, nil, nil)
    #expect(accepted >= 0)
    close(accepted)
  }

  @Test("A listening socket that another server of the process uses is refused and goes on serving")
  func alreadyOurs() throws {
    let loop = try Loop()
    let first = TCPServer(eventBase: loop.base)
    try #require(first.listen(address: .localHost))
    let file = try #require(OpenFile(first.socketDescriptor))
    let second = TCPServer(eventBase: loop.base)
    #expect(!second.setSocketDescriptor(first.socketDescriptor))
    #expect(second.serverError == .unsupportedSocketOperation)
    #expect(second.errorString == "The descriptor already belongs to a server")
    second.close()
    #expect(file.isOpen)
    let client = PlainClient(to: first)
    #expect(loop.run { first.hasPendingConnections })
    client?.end()
    expectBalanced(first)
    expectBalanced(second)
  }

  @Test("A server that listens already refuses a second descriptor, which is untouched")
  func whileListening() throws {
    let server = TCPServer(eventBase: nil)
    try #require(server.listen(address: .localHost))
    let port = server.serverPort
    let descriptor = Descriptors.listening()
    defer { close(descriptor) }
    let flags = DescriptorFlags(descriptor)
    #expect(!server.setSocketDescriptor(descriptor))
    #expect(server.serverError == .operation)
    #expect(server.errorString == "setSocketDescriptor() called when already listening")
    #expect(server.serverPort == port)
    #expect(DescriptorFlags(descriptor) == flags)
  }

  @Test(
    "A good one is the server's: made non-blocking and close-on-exec, served, and closed with it",
    arguments: ["127.0.0.1", "0.0.0.0"] + (Machine.hasIPv6 ? ["::1", "::"] : [])
  )
  func adopted(_ address: String) throws {
    let loop = try Loop()
    let server = TCPServer(eventBase: loop.base)
    let descriptor = Descriptors.listening(on: address)
    let file = try #require(OpenFile(descriptor))
    let port = try #require(Endpoint(localOf: descriptor)).port
    #expect(!DescriptorFlags(descriptor).isNonBlocking)

    try #require(server.setSocketDescriptor(descriptor), "\(server.errorString)")
    #expect(server.isListening)
    #expect(server.socketDescriptor == descriptor)
    #expect(server.serverPort == port)
    // "::" without IPV6_V6ONLY takes IPv4 clients too, which is what any means.
    #expect(server.serverAddress == (address == "::" ? .any : HostAddress(address)))
    #expect(DescriptorFlags(descriptor).isNonBlocking)
    #expect(DescriptorFlags(descriptor).isCloseOnExec)
    // listen(2) was not called again: the queue has the length that the caller gave it.
    #expect(server.statistics.acceptQueueLimit == 10)

    let client = try #require(PlainClient(address.contains(":") ? "::1" : "127.0.0.1", port: port))
    #expect(loop.run { server.hasPendingConnections })
    let socket = try #require(server.nextPendingConnection())
    #expect(socket.peerPort == client.port)
    server.close()
    #expect(!file.isOpen)
    expectBalanced(server)
  }

  @Test("Releasing the server closes the adopted descriptor")
  func releasing() throws {
    let descriptor = Descriptors.listening()
    let file = try #require(OpenFile(descriptor))
    do {
      let server = TCPServer(eventBase: try Loop().base)
      #expect(server.setSocketDescriptor(descriptor))
      #expect(file.isOpen)
    }
    #expect(!file.isOpen)
  }

  @Test("A multipath TCP listener is adopted as well")
  func multipath() throws {
    let descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 262)
    guard descriptor >= 0 else { return }
    try #require(Endpoint("127.0.0.1", port: 0)?.bind(descriptor) == true && listen(descriptor, 10) == 0)
    let server = TCPServer(eventBase: nil)
    try #require(server.setSocketDescriptor(descriptor), "\(server.errorString)")
    let client = PlainClient(port: server.serverPort)
    #expect(client != nil)
    #expect(server.waitForNewConnection(msec: 60_000))
    expectBalanced(server)
  }

  @Test("A descriptor that the program closed behind the server's back is never closed again")
  func closedBehind() throws {
    let server = TCPServer(eventBase: try Loop().base)
    let original = Descriptors.listening()
    try #require(server.setSocketDescriptor(original))
    // Puts another file under the server's number, in one step.
    let other = Descriptors.listening()
    let otherFile = try #require(OpenFile(other))
    try #require(dup2(other, original) == original)
    server.close()
    #expect(!server.isListening)
    #expect(OpenFile(original) != nil, "not the server's descriptor any more")
    #expect(otherFile.isOpen)
    close(original)
    close(other)
  }
}
