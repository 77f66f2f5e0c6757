// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

@testable import TCPServerKit
@testable import TCPServerTLS

@Suite("Handshakes on threads", .enabled(if: Certificates.canBeMade))
struct HandshakeThreadTests {
  @Test("They give what those on the loop give, and are counted alike")
  func sameResults() async throws {
    try await onLoop { _ in
      let threads = SSLHandshakeThreads(count: 2)
      _ = try await whileServingEncrypted(handler: echo) { server in
        server.handshakeThreads = threads
        #expect(server.handshakeThreads === threads)
        var session: [UInt8] = []
        for _ in 0..<2 {
          let client = try await encryptedClient(of: server, resuming: session)
          try await client.write("hello")
          #expect(text(try await client.read(exactly: 5)) == "hello")
          #expect(client.encryption?.isResumed == !session.isEmpty)
          session = client.encryptionSession
        }
        let plain = try #require(PlainClient(to: server))
        plain.send("GET / HTTP/1.0\r\n\r\n")
        try await until { plain.input() != .nothing }
        let silent = try #require(PlainClient(to: server))
        try await until { server.handshakeStatistics.current == 1 }
        silent.end()
        let bad = try #require(PlainClient(to: server))
        bad.send([22, 3, 1, 0, 4, 1, 0, 0, 0])
        try await until { if case .bytes(let bytes) = bad.input() { bytes.first == 21 } else { false } }
        try await until { server.handshakeStatistics.current == 0 }
        let counted = server.handshakeStatistics
        #expect(counted.completed == 2 && counted.resumed == 1 && counted.full == 1)
        #expect(counted.notTLS == 1 && counted.closedSilently == 1 && counted.failed == 1)
        #expect(counted.ratePauses == 0)
      }
    }
  }

  @Test(
    "A faulty certificate is reported on the loop, and its handler's answer counts",
    arguments: [false, true]
  )
  func certificates(isIgnored: Bool) async throws {
    let certificates = try #require(Certificates.shared)
    try await onLoop { base in
      _ = try await whileServingEncrypted(
        {
          $0.peerVerifyMode = .verify
          $0.caCertificates = Array(certificates.selfSigned.utf8)
        },
        handler: echo
      ) { server in
        server.handshakeThreads = SSLHandshakeThreads()
        let seen = Counter()
        server.sslErrors.connect { failed in
          #expect(EventBase.current === base)
          seen.increment()
          if isIgnored { failed.socket.ignoreSSLErrors() }
        }
        do {
          let client = try await encryptedClient(of: server) {
            $0.identities = [try certificates.identity("client")]
          }
          try await client.write("x")
          let answer = try await client.read(maxLength: 1)
          #expect(isIgnored && answer == [120])
        } catch {
          #expect(!isIgnored)
        }
        #expect(seen.value == 1)
        server.sslErrors.disconnectAll()
      }
    }
  }

  @Test("A thousand at once are all served, by threads that two loops share")
  func thousand() async throws {
    let configuration = try Certificates.server()
    let threads = SSLHandshakeThreads(count: 2)
    let completed = Counter()
    try await onLoops { group in
      let server = TCPServerGroup(on: group, distribution: .roundRobin, stallLimit: nil, tls: configuration) {
        $0.handshakeThreads = threads
        $0.handshakeTimeout = Loop.limit
      }
      try await whileServing(server, handler: echo) {
        let port = server.serverPort
        try await onLoop { _ in
          let clients = try Certificates.client()
          try await withThrowingTaskGroup(of: Void.self) { tasks in
            for _ in 0..<1000 {
              tasks.addTask {
                let client = TCPSocket()
                try await client.connect(to: "127.0.0.1", port: port)
                try await client.startClientEncryption(clients, serverName: "localhost", timeout: Loop.limit)
                try await client.write("x")
                #expect(try await client.read(exactly: 1) == [120])
                completed.increment()
              }
            }
            try await tasks.waitForAll()
          }
        }
      }
      let counts = Locked<[UInt64]>([])
      try await server.withServers { server, _ in
        let done = (server as? SSLServer)?.handshakeStatistics.completed ?? 0
        counts.withLock { $0.append(done) }
      }
      #expect(counts.withLock { $0.reduce(0, +) } == 1000)
    }
    #expect(completed.value == 1000)
  }

  /// A ClientHello, as far as its first record is one.
  private static let hello: [UInt8] = [22, 3, 1, 0, 4, 1, 0, 0, 0]

  /// A server whose one thread is busy, and a client whose handshake waits for it.
  private struct Held: @unchecked Sendable {
    let server: SSLServer
    let client: PlainClient
    let blockade: Blockade
    let threads = SSLHandshakeThreads()
    let socket = Shared<LoopBound<TCPSocket>?>(nil)
    weak var transport: SSLTransport?

    init() async throws {
      let blockade = try Blockade()
      self.blockade = blockade
      server = try listeningEncrypted()
      server.handshakeTimeout = Loop.limit
      server.handshakeThreads = threads
      try #require(threads.add { blockade.block() })
      server.startedEncryptionHandshake.connect { [socket] in socket.value = LoopBound($0) }
      client = try #require(PlainClient(to: server))
      client.send(HandshakeThreadTests.hello)
      try await until { socket.value != nil }
      transport = socket.value?.value.transport as? SSLTransport
      try await until { transport?.holder == .thread }
    }
  }

  @Test(
    "One that is ended while a thread has it leaves its descriptor alone, which is another file's by then"
  )
  func abandoned() async throws {
    try await onLoop { _ in
      let held = try await Held()
      let number = try #require(held.socket.value?.value.socketDescriptor)
      // What would touch the library's state meanwhile, and does not.
      let socket = try #require(held.socket.value?.value)
      #expect(socket.encryption == nil && socket.encryptionError == nil && socket.encryptionSession.isEmpty)
      socket.ignoreSSLErrors()
      socket.continueInterruptedHandshake()
      #expect(held.transport?.holder == .thread)
      #expect(held.transport?.peerCertificates.isEmpty == true && held.transport?.isResumed == false)
      #expect(held.transport?.alert(sent: true) == nil && held.transport?.hasBufferedInput == false)
      let errors = Counter()
      held.server.errorOccurred.connect { failed in
        #expect(failed.error == .socketTimeout)
        errors.increment()
      }
      held.server.handshakeTimeout = .milliseconds(1)
      try await until { held.client.input() != .nothing }
      #expect(held.server.handshakeStatistics.timedOut == 1)
      #expect(held.server.statistics.live == 0)
      // Only this process's tests open files: one of these gets the number, unless another test has it.
      var pairs: [[CInt]] = []
      var mine: [CInt]?
      while pairs.count < 200, mine == nil {
        var ends: [CInt] = [-1, -1]
        try #require(
          unsafe socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0
        )
        pairs.append(ends)
        if ends.contains(number) { mine = ends }
      }
      let other = mine.map { $0[0] == number ? $0[1] : $0[0] }
      if let other { #expect(unsafe send(other, Self.hello, Self.hello.count, 0) == Self.hello.count) }
      held.blockade.open()
      let isDone = Flag()
      #expect(held.threads.add { isDone.set() })
      try await until { isDone.isSet }
      await turns()
      #expect(socket.encryptionError == nil)
      if mine != nil {
        var bytes = [UInt8](repeating: 0, count: 100)
        #expect(unsafe recv(number, &bytes, 100, CInt(MSG_DONTWAIT)) == Self.hello.count)
      }
      for pair in pairs { for end in pair { close(end) } }
      #expect(errors.value == 1)
      held.server.errorOccurred.disconnectAll()
      held.server.startedEncryptionHandshake.disconnectAll()
      held.server.close()
      expectBalanced(held.server)
    }
  }

  @Test("A server that is closed while a thread has a handshake ends it at once")
  func closed() async throws {
    try await onLoop { _ in
      let held = try await Held()
      held.server.close()
      #expect(held.server.handshakeStatistics.closed == 1)
      #expect(held.server.handshakeStatistics.current == 0)
      try await until { held.client.input() != .nothing }
      held.server.handshakeThreads = nil
      held.blockade.open()
      held.socket.value = nil
      let transport = Weak(held.transport)
      try await until { transport.value == nil }
      expectBalanced(held.server)
    }
  }

  @Test("Without a thread the loop makes the steps, in their turns")
  func noThread() async throws {
    try await onLoop { _ in
      _ = try await whileServingEncrypted(handler: echo) { server in
        server.handshakeThreads = SSLHandshakeThreads()
        server.startedEncryptionHandshake.connect { ($0.transport as? SSLTransport)?.lend = { false } }
        for _ in 0..<3 {
          let client = try await encryptedClient(of: server)
          try await client.write("x")
          #expect(try await client.read(exactly: 1) == [120])
        }
        #expect(server.handshakeStatistics.completed == 3)
        server.startedEncryptionHandshake.disconnectAll()
      }
    }
  }

  /// Serves with threads and with a look-up that waits until it is cancelled; `body` gets the socket of the first
  /// handshake once it has begun.
  private func whileLookingUp(
    _ threads: SSLHandshakeThreads,
    _ body: (SSLServer, PlainClient, _ socket: TCPSocket, _ asked: Counter, _ cancelled: Counter) async throws
      -> Void
  ) async throws {
    let base = try #require(EventBase.current)
    let (asked, cancelled) = (Counter(), Counter())
    try await whileServingEncrypted(
      {
        $0.identityLookup = { _ in
          asked.increment()
          do { try await base.sleep(for: .seconds(3600)) } catch { cancelled.increment() }
          return nil
        }
      },
      handler: echo
    ) { server in
      server.handshakeThreads = threads
      let begun = Shared<LoopBound<TCPSocket>?>(nil)
      server.startedEncryptionHandshake.connect { begun.value = LoopBound($0) }
      let client = try #require(PlainClient(to: server))
      client.send(RawTLS.clientHello)
      try await until { begun.value != nil }
      let socket = try #require(begun.value?.value)
      try await body(server, client, socket, asked, cancelled)
      begun.value = nil
      server.startedEncryptionHandshake.disconnectAll()
    }
  }

  @Test("A client that has ended its side while a thread had its handshake is not looked up for any longer")
  func clientEndsItsSide() async throws {
    try await onLoop { _ in
      let (threads, blockade) = (SSLHandshakeThreads(), try Blockade())
      try #require(threads.add { blockade.block() })
      try await whileLookingUp(threads) { server, client, socket, asked, cancelled in
        let transport = try #require(socket.transport as? SSLTransport)
        try await until { transport.holder == .thread }
        client.endWriting()
        await turns()
        #expect(server.handshakeStatistics.current == 1)
        blockade.open()
        try await until { server.handshakeStatistics.failed == 1 }
        try await until { asked.value == cancelled.value }
      }
    }
  }

  @Test("continueInterruptedHandshake() does nothing while the program is asked something else")
  func notInterrupted() async throws {
    try await onLoop { _ in
      try await whileLookingUp(SSLHandshakeThreads()) { server, client, socket, asked, cancelled in
        try await until { asked.value == 1 }
        socket.continueInterruptedHandshake()
        #expect((socket.transport as? SSLTransport)?.holder == SSLTransport.Holder.none)
        client.endWriting()
        try await until { cancelled.value == 1 }
        #expect(server.handshakeStatistics.failed == 1)
      }
    }
  }

  @Test("A loop that ends while a thread has a handshake leaves nothing behind")
  func loopEnds() async throws {
    let left = Shared<(blockade: Blockade, transport: Weak<SSLTransport>)?>(nil)
    try await EventBase.withThread { _ in
      let held = try await Held()
      left.value = (held.blockade, Weak(held.transport))
      held.socket.value = nil
      held.server.startedEncryptionHandshake.disconnectAll()
    }
    let (blockade, transport) = try #require(left.value)
    blockade.open()
    try await onLoop { _ in try await until { transport.value == nil } }
  }
}

/// Whether an object is still there; for any thread.
final class Weak<Object: AnyObject>: @unchecked Sendable {
  private(set) weak var value: Object?

  init(_ value: Object?) {
    self.value = value
  }
}
