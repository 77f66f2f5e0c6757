// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

/// A part of a program's life with the library. What it reports goes into the run.
struct TortureScenario: CustomTestStringConvertible, Sendable {
  let name: String
  let play: @Sendable (TortureRun) throws -> Void

  var testDescription: String { name }

  static let all = signals + waits + tasks

  static let signals = [
    TortureScenario(name: "echo by signals", play: echoBySignals),
    TortureScenario(name: "a megabyte by signals", play: megabyteBySignals),
    TortureScenario(name: "a client by signals", play: clientBySignals),
    TortureScenario(name: "descriptors handed over", play: handOver),
  ]

  static let waits = [
    TortureScenario(name: "echo by waits", play: echoByWaits),
    TortureScenario(name: "a client by waits", play: clientByWaits),
  ]

  // MARK: -

  private static func echoBySignals(_ run: TortureRun) throws {
    let loop = try Loop()
    let server = run.server(on: loop.base)
    guard run.listen(server) else { return }
    server.newConnection.connect { [unowned server] in
      guard let socket = server.nextPendingConnection() else { return }
      echoOnce(socket, run)
    }
    let client = run.client(of: server, sending: "ping\n")
    run.achieved = loop.run { client?.text == "ping\n" || !run.told.isEmpty }
    run.achieved = run.achieved && client?.text == "ping\n"
    loop.settle(turns: 3)
  }

  static func echoOnce(_ socket: TCPSocket, _ run: TortureRun) {
    run.watch(socket)
    socket.readyRead.connect { [unowned socket] in
      if socket.write(socket.readAll()) < 0 { run.tell("write", socket) }
      socket.disconnectFromHost()
    }
  }

  /// More than the kernel takes at once: held, flushed, and sent as there is room.
  private static func megabyteBySignals(_ run: TortureRun) throws {
    let count = 1 << 20
    let loop = try Loop()
    let server = run.server(on: loop.base)
    guard run.listen(server) else { return }
    server.newConnection.connect { [unowned server] in
      guard let socket = server.nextPendingConnection() else { return }
      run.watch(socket)
      socket.setSocketOption(.sendBufferSize, 65536)
      if socket.write([UInt8](repeating: 7, count: count)) < 0 { run.tell("write", socket) }
      socket.flush()
      socket.disconnectFromHost()
      if socket.error != .unknown { run.tell("write", socket) }
      socket.disconnected.connect { [unowned socket] in
        if socket.bytesToWrite > 0 || socket.error != .unknown { run.tell("the rest", socket) }
      }
    }
    let client = run.client(of: server)
    _ = loop.run { client?.received == count || !run.told.isEmpty }
    run.achieved = client?.received == count
    loop.settle(turns: 3)
  }

  /// A listening socket that is not the library's; -1 for none.
  static func listener() -> (descriptor: CInt, port: UInt16) {
    aside {
      let descriptor = Descriptors.listening()
      return (descriptor, Endpoint(localOf: descriptor)?.port ?? 0)
    }
  }

  private static func clientBySignals(_ run: TortureRun) throws {
    let loop = try Loop()
    let (listener, port) = listener()
    defer { aside { _ = close(listener) } }
    let socket = TCPSocket(eventBase: loop.base)
    run.watch(socket)
    socket.connected.connect { [unowned socket] in
      if socket.write("ping\n") < 0 { run.tell("write", socket) }
    }
    socket.connectToHost(.localHost, port: port)
    var peer: TortureClient?
    _ = loop.run {
      if peer == nil {
        peer = aside {
          Descriptors.wait(listener, for: POLLIN, msec: 0)
            ? run.keep(PlainClient(adopting: accept(listener, nil, nil))) : nil
        }
      }
      return peer?.text == "ping\n" || !run.told.isEmpty
    }
    run.achieved = peer?.text == "ping\n"
    socket.abort()
    loop.settle(turns: 3)
  }

  /// A server's socket and a connection that the program opened itself.
  private static func handOver(_ run: TortureRun) throws {
    let loop = try Loop()
    let (listener, _) = listener()
    fault_give(listener)
    let server = run.server(on: loop.base)
    guard server.setSocketDescriptor(listener) else {
      run.tell("adopt", server.serverError, server.errorString)
      if aside({ close(listener) }) != 0 { run.object("a descriptor that was refused is gone") }
      return
    }
    let client = run.client(of: server, sending: "ping\n")
    guard loop.run(until: { server.hasPendingConnections || !run.told.isEmpty }),
      let accepted = server.nextPendingConnection()
    else { return }
    let descriptor = accepted.detach()
    let socket = TCPSocket(eventBase: loop.base)
    run.watch(socket)
    guard socket.setSocketDescriptor(descriptor) else {
      run.tell("setSocketDescriptor", socket)
      if aside({ close(descriptor) }) != 0 { run.object("a descriptor that was refused is gone") }
      return
    }
    socket.readyRead.connect { [unowned socket] in
      if socket.write(socket.readAll()) < 0 { run.tell("write", socket) }
    }
    _ = loop.run { client?.text == "ping\n" || !run.told.isEmpty }
    run.achieved = client?.text == "ping\n"
    socket.abort()
  }

  // MARK: -

  private static func echoByWaits(_ run: TortureRun) throws {
    let server = run.server(on: nil)
    guard run.listen(server) else { return }
    let client = run.client(of: server, sending: "ping\n")
    guard server.waitForNewConnection(msec: 60_000), let socket = server.nextPendingConnection() else {
      return run.tell("waitForNewConnection", server.serverError, server.errorString)
    }
    guard socket.waitForReadyRead(msec: 60_000) else { return run.tell("waitForReadyRead", socket) }
    guard socket.write(socket.readAll()) == 5 else { return run.tell("write", socket) }
    guard socket.bytesToWrite == 0 || socket.waitForBytesWritten(msec: 60_000) else {
      return run.tell("waitForBytesWritten", socket)
    }
    socket.disconnectFromHost()
    guard socket.waitForDisconnected(msec: 60_000) else { return run.tell("waitForDisconnected", socket) }
    run.achieved = client?.text == "ping\n"
  }

  private static func clientByWaits(_ run: TortureRun) throws {
    let (listener, port) = listener()
    defer { aside { _ = close(listener) } }
    let socket = TCPSocket(eventBase: nil)
    socket.connectToHost(.localHost, port: port)
    guard socket.waitForConnected(msec: 60_000) else { return run.tell("waitForConnected", socket) }
    let peer = aside { run.keep(PlainClient(adopting: accept(listener, nil, nil)), sending: "ping\n") }
    guard socket.waitForReadyRead(msec: 60_000), let bytes = socket.read(maxLength: 5) else {
      return run.tell("waitForReadyRead", socket)
    }
    guard socket.write(bytes) == 5 else { return run.tell("write", socket) }
    socket.finishWriting()
    run.achieved = socket.bytesToWrite > 0 || peer.text == "ping\n"
    if socket.error != .unknown { run.tell("the socket", socket) }
  }
}
