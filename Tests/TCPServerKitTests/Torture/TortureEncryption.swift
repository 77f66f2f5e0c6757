// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit

@testable import TCPServerTLS

/// The scenarios of encrypted connections, of which one side is the library's and the other an ``EncryptedPeer``.
extension TortureScenario {
  static let encrypted = [
    TortureScenario(name: "encrypted echo by signals", play: encryptedEchoBySignals),
    TortureScenario(name: "encrypted serve", play: { try onLoop($0, encryptedServe) }),
    TortureScenario(name: "startServerEncryption()", play: { try onLoop($0, startServerEncryption) }),
    TortureScenario(name: "startClientEncryption()", play: { try onLoop($0, startClientEncryption) }),
  ]

  private static func encryptedEchoBySignals(_ run: TortureRun) throws {
    let loop = try Loop()
    let server = try run.encryptedServer(on: loop.base)
    guard run.listen(server) else { return }
    server.newConnection.connect { [unowned server] in
      guard let socket = server.nextPendingConnection() else { return }
      echoOnce(socket, run)
    }
    let peer = try run.client(of: server).map { try EncryptedPeer($0, isClient: true, sending: "ping\n") }
    _ = loop.run { peer?.text == "ping\n" || !run.told.isEmpty }
    run.achieved = peer?.text == "ping\n"
    loop.settle(turns: 3)
  }

  private static func encryptedServe(_ run: TortureRun, on base: EventBase) async throws {
    let server = try run.encryptedServer(on: base)
    guard run.listen(server) else { return }
    let peer = LoopBound(
      try run.client(of: server).map { try EncryptedPeer($0, isClient: true, sending: "ping\n") }
    )
    let shutdown = GracefulShutdown()
    let talking = start {
      // A handshake that fails has no handler.
      try await until { peer.value?.text == "ping\n" || !run.told.isEmpty }
      shutdown.begin(timeout: .seconds(2))
    }
    defer { talking.cancel() }
    try await server.serve(shutdown: shutdown) { socket in
      do {
        while let line = try await socket.readLine() { try await socket.write(line) }
      } catch {
        run.tell("in the handler", socket)
      }
    }
    run.achieved = peer.value?.text == "ping\n"
  }

  /// A server's connection that begins in the clear.
  private static func startServerEncryption(_ run: TortureRun, on base: EventBase) async throws {
    let server = run.server(on: base)
    guard run.listen(server) else { return }
    let client = run.client(of: server, sending: "STARTTLS\n")
    guard let socket = try await server.accept() else { return }
    guard try await socket.readLine(timeout: .seconds(5)) != nil else { return run.tell("readLine", socket) }
    let peer = try client.map { try EncryptedPeer($0, isClient: true, sending: "ping\n") }
    try await talk(run, socket, with: peer) {
      try await socket.startServerEncryption(try Certificates.server())
      guard let line = try await socket.readLine(timeout: .seconds(5)) else { return }
      try await socket.write(line)
    }
    run.achieved = peer?.text == "ping\n"
  }

  private static func startClientEncryption(_ run: TortureRun, on base: EventBase) async throws {
    let (listener, port) = listener()
    defer { aside { _ = close(listener) } }
    let socket = TCPSocket(eventBase: base)
    try await socket.connect(to: "127.0.0.1", port: port, timeout: .seconds(5))
    let accepted = aside { run.keep(PlainClient(adopting: accept(listener, nil, nil))) }
    let peer = try EncryptedPeer(accepted, isClient: false, sending: "ping\n")
    try await talk(run, socket, with: peer) {
      try await socket.startClientEncryption(try Certificates.client(), serverName: "localhost")
      guard let line = try await socket.readLine(timeout: .seconds(5)) else { return }
      try await socket.write(line)
    }
    run.achieved = peer.text == "ping\n"
  }

  /// Runs `body` while the peer does its part, then until it has its answer.
  private static func talk(
    _ run: TortureRun,
    _ socket: TCPSocket,
    with peer: EncryptedPeer?,
    _ body: () async throws -> Void
  ) async throws {
    let peer = LoopBound(peer)
    let talking = start { try await until { peer.value?.text == "ping\n" || socket.error != .unknown } }
    defer { talking.cancel() }
    do {
      try await body()
    } catch let error as SSLError {
      return run.tell("thrown", .sslHandshakeFailed, error.text)
    }
    try await talking.value
    if socket.error != .unknown { run.tell("the socket", socket) }
  }
}

extension TortureRun {
  fileprivate func encryptedServer(on base: EventBase) throws -> SSLServer {
    let server = SSLServer(eventBase: base)
    watch(server)
    server.errorOccurred.connect { [unowned self] in tell("the handshake", $0.error, $0.socket.errorString) }
    try server.setSSLConfiguration(try Certificates.server())
    return server
  }
}
