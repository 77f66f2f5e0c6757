// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

/// One errno of one call, and what a program gets to see of it.
struct ErrorRow: CustomTestStringConvertible {
  let name: String
  let errnum: CInt
  let error: SocketError
  let text: String

  init(_ name: String, _ errnum: CInt, _ error: SocketError, _ text: String) {
    self.name = name
    self.errnum = errnum
    self.error = error
    self.text = text
  }

  var testDescription: String {
    "\(name): \(error), \(text)"
  }
}

/// The classes and texts of errors, reached through the public interface.
@Suite("Errors of socket, bind, listen and adopting", .blocking)
struct ErrorTableTests {
  static let socketRows = [
    ErrorRow("EPROTONOSUPPORT", EPROTONOSUPPORT, .unsupportedSocketOperation, "Protocol type not supported"),
    ErrorRow("EAFNOSUPPORT", EAFNOSUPPORT, .unsupportedSocketOperation, "Protocol type not supported"),
    ErrorRow("EINVAL", EINVAL, .unsupportedSocketOperation, "Protocol type not supported"),
    ErrorRow("EMFILE", EMFILE, .socketResource, "Out of resources"),
    ErrorRow("ENFILE", ENFILE, .socketResource, "Out of resources"),
    ErrorRow("ENOBUFS", ENOBUFS, .socketResource, "Out of resources"),
    ErrorRow("ENOMEM", ENOMEM, .socketResource, "Out of resources"),
    ErrorRow("EACCES", EACCES, .socketAccess, "Permission denied"),
    ErrorRow("EIO", EIO, .unknown, "Unknown error"),
  ]

  static let bindRows = [
    ErrorRow("EADDRINUSE", EADDRINUSE, .addressInUse, "The bound address is already in use"),
    ErrorRow("EACCES", EACCES, .socketAccess, "The address is protected"),
    ErrorRow("EINVAL", EINVAL, .unsupportedSocketOperation, "Unsupported socket operation"),
    ErrorRow("EADDRNOTAVAIL", EADDRNOTAVAIL, .socketAddressNotAvailable, "The address is not available"),
    ErrorRow("EIO", EIO, .unknown, "Unknown error"),
  ]

  static let listenRows = [
    ErrorRow("EADDRINUSE", EADDRINUSE, .addressInUse, "Another socket is already listening on the same port"),
    ErrorRow("EIO", EIO, .unknown, "Unknown error"),
  ]

  @Test("socket() fails while listening", arguments: socketRows)
  func socketFails(_ row: ErrorRow) throws {
    try listening(failsAt: FAULT_SOCKET, row)
  }

  @Test("bind() fails while listening", arguments: bindRows)
  func bindFails(_ row: ErrorRow) throws {
    try listening(failsAt: FAULT_BIND, row)
  }

  @Test("listen() fails", arguments: listenRows)
  func listenFails(_ row: ErrorRow) throws {
    try listening(failsAt: FAULT_LISTEN, row)
  }

  @Test(
    "The loop cannot watch the socket: listen() fails instead of being deaf",
    arguments: [ENOMEM, ENOSPC]
  )
  func watchFails(_ errnum: CInt) throws {
    let row = ErrorRow("epoll_ctl", errnum, .socketResource, "Out of resources")
    try listening(failsAt: FAULT_EPOLL_CTL, row)
  }

  /// Listens with one failing call: the error is reported, nothing stays open, and the next attempt succeeds.
  private func listening(failsAt call: fault_call, _ row: ErrorRow) throws {
    let server = TCPServer(eventBase: try Loop().base)
    fault_reset_counts()
    fault_fail(call, 1, 1, row.errnum)
    defer { fault_clear() }
    #expect(!server.listen(address: .localHost))
    #expect(fault_failures(call) == 1)
    #expect(server.serverError == row.error)
    #expect(server.errorString == row.text)
    #expect(!server.isListening)
    #expect(server.socketDescriptor == -1)
    let opened = fault_calls(FAULT_SOCKET) - fault_failures(FAULT_SOCKET)
    // Listening also closes the duplicate that made room for descriptors, if it came so far.
    #expect(fault_calls(FAULT_CLOSE) >= opened)
    #expect(fault_bad_closes() == 0)
    #expect(server.listen(address: .localHost), "\(server.errorString)")
    #expect(server.errorString == row.text, "a success does not clear the last error")
  }

  @Test(
    "Without IPv6, any address means every IPv4 interface",
    arguments: [FAULT_SOCKET.rawValue, FAULT_BIND.rawValue]
  )
  func withoutIPv6(call: UInt32) throws {
    let server = TCPServer(eventBase: nil)
    fault_fail(fault_call(call), 1, 1, EAFNOSUPPORT)
    defer { fault_clear() }
    #expect(server.listen())
    #expect(server.serverAddress == .anyIPv4)
    #expect(PlainClient(port: server.serverPort) != nil)
  }

  @Test("An IPv6 address on a kernel without IPv6 is an unsupported operation")
  func ipv6AddressWithoutIPv6() {
    let server = TCPServer(eventBase: nil)
    fault_fail(FAULT_SOCKET, 1, -1, EAFNOSUPPORT)
    defer { fault_clear() }
    #expect(!server.listen(address: .localHostIPv6))
    #expect(server.serverError == .unsupportedSocketOperation)
    #expect(server.errorString == "Protocol type not supported")
  }

  @Test("The kernel's own errors of bind")
  func realBindErrors() throws {
    let taken = TCPServer(eventBase: nil)
    try #require(taken.listen(address: .localHost))
    let server = TCPServer(eventBase: nil)
    #expect(!server.listen(address: .localHost, port: taken.serverPort))
    #expect(server.serverError == .addressInUse)
    #expect(server.errorString == "The bound address is already in use")

    #expect(!server.listen(address: try #require(HostAddress("192.0.2.254"))))
    #expect(server.serverError == .socketAddressNotAvailable)
    #expect(server.errorString == "The address is not available")
  }

  @Test(
    "A link-local address without its scope cannot be bound",
    .enabled(if: Machine.hasIPv6, "no IPv6 here")
  )
  func linkLocalWithoutScope() throws {
    let server = TCPServer(eventBase: nil)
    #expect(!server.listen(address: try #require(HostAddress("fe80::1"))))
    #expect(server.serverError == .unsupportedSocketOperation)
    #expect(server.errorString == "Unsupported socket operation")
  }

  @Test(
    "A privileged port needs a privilege",
    .enabled(if: geteuid() != 0, "the superuser may bind every port")
  )
  func privilegedPort() throws {
    let server = TCPServer(eventBase: nil)
    #expect(!server.listen(address: .localHost, port: 1))
    #expect(server.serverError == .socketAccess)
    #expect(server.errorString == "The address is protected")
  }

  @Test(
    "A descriptor whose flags cannot be read or set is refused and stays as it was",
    arguments: [1, 2, 3, 4, 5]
  )
  func adoptingFails(nthCall: CInt) throws {
    let descriptor = Descriptors.listening()
    let (file, flags) = (OpenFile(descriptor), DescriptorFlags(descriptor))
    let server = TCPServer(eventBase: try Loop().base)
    server.expectedDescriptors = 0
    server.descriptorReserve = 0
    fault_reset_counts()
    fault_fail(FAULT_FCNTL, nthCall, 1, EPERM)
    let adopted = server.setSocketDescriptor(descriptor)
    fault_clear()
    #expect(fault_failures(FAULT_FCNTL) == 1)
    #expect(!adopted)
    #expect(server.serverError == .unsupportedSocketOperation)
    let text = nthCall == 1 ? "Invalid socket descriptor" : "Unable to initialize non-blocking socket"
    #expect(server.errorString == text)
    #expect(OpenFile(descriptor) == file)
    #expect(DescriptorFlags(descriptor) == flags)
    #expect(server.setSocketDescriptor(descriptor), "nothing of the attempt is left")
    server.close()
    #expect(file?.isOpen == false)
  }

  @Test("Listening or adopting without a descriptor left for the server's duplicate leaves nothing behind")
  func noDescriptorForDuplicate() throws {
    let descriptor = Descriptors.listening()
    let (file, flags) = (OpenFile(descriptor), DescriptorFlags(descriptor))
    let server = TCPServer(eventBase: try Loop().base)
    defer { fault_clear() }
    fault_fail(FAULT_FCNTL, 6, 1, EMFILE)  // those before look at its flags and set them
    #expect(!server.setSocketDescriptor(descriptor))
    #expect(server.errorString == "Out of resources")
    #expect(OpenFile(descriptor) == file)
    #expect(DescriptorFlags(descriptor) == flags)
    fault_fail(FAULT_FCNTL, 1, 1, EMFILE)
    #expect(!server.listen(address: .localHost))
    #expect(server.serverError == .socketResource)
    #expect(server.setSocketDescriptor(descriptor))
    server.close()
    #expect(file?.isOpen == false)
  }
}
