// SPDX-License-Identifier: Apache-2.0

import FortuneWire
import Glibc
import ProgramTesting
import Synchronization
import Testing

@testable import ThreadedFortuneServer

@Suite("Threaded Fortune Server", .blocking, .timeLimit(.minutes(5)))
struct ThreadedFortuneTests {
  static let modes: [[String]] = [[], ["--pool", "1"], ["--pool", "3"]]

  private func start(_ options: [String]) throws -> RunningServer {
    let server = try RunningServer(options, program: "ThreadedFortuneServer")
    _ = try server.program.nextLine()
    return server
  }

  @Test("A client gets one fortune as Qt writes it, then the end", arguments: modes)
  func bareFraming(mode: [String]) throws {
    let server = try start(mode)
    for _ in 1...5 {
      let bytes = try #require(Connection(port: server.port)?.receiveToEnd())
      let fortune = try #require(try FortuneWire.decode(bytes, framing: .bare))
      #expect(Fortunes.all.contains(fortune))
      #expect(FortuneWire.encode(fortune, framing: .bare) == bytes)
    }
  }

  @Test("With --legacy-framing it gets the older form")
  func legacyFraming() throws {
    let server = try start(["--legacy-framing"])
    let bytes = try #require(Connection(port: server.port)?.receiveToEnd())
    let fortune = try #require(try FortuneWire.decode(bytes, framing: .lengthPrefixed))
    #expect(Fortunes.all.contains(fortune))
  }

  /// A client that has said something and got its fortune, and whose connection goes on until it ends its side.
  private func stayingClient(of server: RunningServer) throws -> Connection {
    // Stopped meanwhile, so that what the client says is there before it is served.
    server.program.send(signal: SIGSTOP)
    let client = try #require(Connection(port: server.port))
    client.send(Array("Hello".utf8))
    server.program.send(signal: SIGCONT)
    #expect(try FortuneWire.decode(client.receiveToEnd() ?? [], framing: .bare) != nil)
    return client
  }

  @Test("A client that talks and stays is waited for, and keeps no other one waiting", arguments: modes)
  func staying(mode: [String]) throws {
    for _ in 0..<10 {
      let server = try start(mode)
      let staying = try stayingClient(of: server)
      #expect(Connection(port: server.port)?.receiveToEnd() != nil)

      let began = ContinuousClock.now
      server.program.send(signal: SIGINT)
      staying.endSending()
      // Not after the three seconds for which it is waited for: this test may be held up itself.
      let isLate = ContinuousClock.now - began >= .seconds(3)
      let end = try server.program.end()
      guard isLate else {
        #expect(end == .init(status: 0, output: "Stopped; fortunes served: 2.\n", errors: ""))
        return
      }
    }
    Issue.record("Held up each time")
  }

  @Test("Ctrl-C and SIGTERM end the server in order", arguments: modes, [SIGINT, SIGTERM])
  func signals(mode: [String], signal: Int32) throws {
    let server = try start(mode)
    #expect(Connection(port: server.port)?.receiveToEnd() != nil)
    server.program.send(signal: signal)
    let end = try server.program.end()
    #expect(end == .init(status: 0, output: "Stopped; fortunes served: 1.\n", errors: ""))
  }

  @Test("A client that stays for ever does not keep a stopped server", arguments: modes)
  func stayingForEver(mode: [String]) throws {
    let server = try start(mode)
    let staying = try stayingClient(of: server)
    server.program.send(signal: SIGINT)
    let end = try server.program.end()
    #expect(end == .init(status: 0, output: "Stopped; fortunes served: 0; unfinished: 1.\n", errors: ""))
    withExtendedLifetime(staying) {}
  }

  @Test("A client that stays is cut off in the end", arguments: modes)
  func patience(mode: [String]) throws {
    let server = try start(mode + ["--patience", "0.3", "--max-connections", "1"])
    let staying = try stayingClient(of: server)
    // It waits until the other one has gone.
    #expect(Connection(port: server.port)?.receiveToEnd()?.isEmpty == false)
    #expect(try server.program.nextLine()?.hasPrefix("A client was not served: ") == true)
    withExtendedLifetime(staying) {}
  }

  @Test("Clients leave no descriptor behind", arguments: modes)
  func descriptors(mode: [String]) throws {
    let server = try start(mode)
    // All threads have begun then.
    #expect(Connection(port: server.port)?.receiveToEnd() != nil)
    let before = try server.program.openDescriptors()
    for _ in 1...20 {
      #expect(Connection(port: server.port)?.receiveToEnd() != nil)
    }
    #expect(try server.program.comesToDescriptors(atMost: before))
  }

  @Test("A client for which no thread starts is reported and closed, and the next one is served")
  func noThread() throws {
    let server = try start([])
    // Not enough for the stack of a thread.
    try limitMemory(of: server.program, to: memory(of: server.program) + 2 << 20)
    try refuseForWantOfThread(server)
    // Not before: the server may still have been opening what its loop needs.
    let before = try server.program.openDescriptors()
    try refuseForWantOfThread(server)
    #expect(try server.program.comesToDescriptors(atMost: before))

    try limitMemory(of: server.program, to: nil)
    #expect(Connection(port: server.port)?.receiveToEnd()?.isEmpty == false)
    server.program.send(signal: SIGTERM)
    let end = try server.program.end()
    #expect(end == .init(status: 0, output: "Stopped; fortunes served: 1.\n", errors: ""))
  }

  private func refuseForWantOfThread(_ server: RunningServer) throws {
    #expect(Connection(port: server.port)?.receiveToEnd() == [])
    let complaint = "A client was not served: no thread to be had: Resource temporarily unavailable."
    #expect(try server.program.nextLine() == complaint)
  }

  @Test("A descriptor that is no TCP connection is reported and closed", arguments: [false, true])
  func notAConnection(onLoop: Bool) throws {
    let pair = try LocalPair()
    let told = Told()
    do {
      let client = Client(descriptor: pair.given, reply: [1]) { told.add($0) }
      if onLoop { client.serve(on: try .init()) } else { client.serve() }
      #expect(pair.givenIsClosed)
    }
    #expect(told.failures.withLock { $0 } == ["The descriptor is not a stream socket"])
  }

  @Test("A client that no thread serves is reported and closed")
  func dropped() throws {
    let pair = try LocalPair()
    let told = Told()
    _ = Client(descriptor: pair.given, reply: [1]) { told.add($0) }
    #expect(pair.givenIsClosed)
    #expect(told.failures.withLock { $0 } == ["Nobody was left to serve it"])
  }

  @Test("A second server on the same port says so and fails", arguments: modes)
  func portTaken(mode: [String]) throws {
    let server = try start([])
    let options = ["--address", "127.0.0.1", "--port", "\(server.port)"] + mode
    let second = try Program("ThreadedFortuneServer", options).end()
    #expect(second.status == 1)
    #expect(second.output == "")
    #expect(second.errors == "Error: Unable to start the server: The bound address is already in use\n")
  }

  @Test("A small limit of descriptors is enough, or is reported as too small", arguments: 4...28)
  func fewDescriptors(count: Int) throws {
    let path = try Program.path(of: "ThreadedFortuneServer")
    let command = ["--nofile=\(count):", path, "--address", "127.0.0.1", "--port", "0", "--pool", "3"]
    let program = try Program(path: "/usr/bin/prlimit", command)
    let isRunning = try program.nextLine()?.hasPrefix("The server is running on 127.0.0.1, port ") ?? false
    program.send(signal: SIGTERM)
    let end = try program.end()
    #expect(end.status == (isRunning ? 0 : 1))
    #expect(isRunning || end.errors.contains(/^Error: Unable to start the server: .+\n$/), "\(end.errors)")
  }

  @Test("A pool has some threads, not none and not thousands", arguments: ["0", "-1", "257", "many"])
  func poolSize(count: String) throws {
    let end = try Program("ThreadedFortuneServer", ["--pool", count]).end()
    #expect(end.status == 64)
    #expect(end.errors.contains("--pool"))
  }
}

/// What became of a client.
private final class Told: Sendable {
  let failures = Mutex<[String?]>([])

  func add(_ failure: String?) {
    failures.withLock { $0.append(failure) }
  }
}

/// Two connected sockets that are no streams: one to give away, and one that shows when the other is closed,
/// whatever its number is used for by then.
private final class LocalPair {
  let given: Int32
  private let kept: Int32

  init() throws {
    var ends: [Int32] = [-1, -1]
    let type = Int32(SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue)
    try #require(socketpair(AF_UNIX, type, 0, &ends) == 0)
    (given, kept) = (ends[0], ends[1])
  }

  deinit {
    close(kept)
  }

  var givenIsClosed: Bool {
    var byte: UInt8 = 0
    return recv(kept, &byte, 1, Int32(MSG_DONTWAIT)) == 0
  }
}

/// The size of the program's address space, in bytes.
private func memory(of program: Program) throws -> Int {
  let file = try #require(fopen("/proc/\(program.process)/statm", "r"))
  defer { fclose(file) }
  var line = [UInt8](repeating: 0, count: 200)
  let count = fread(&line, 1, line.count, file)
  let number = line[..<count].prefix { $0 != UInt8(ascii: " ") }
  let pages = try #require(Int(String(decoding: number, as: UTF8.self)))
  return pages * sysconf(CInt(_SC_PAGESIZE))
}

/// - Parameter size: in bytes; nil for no limit.
private func limitMemory(of program: Program, to size: Int?) throws {
  let limit = size.map(String.init) ?? "unlimited"
  let tool = try Program(path: "/usr/bin/prlimit", ["--pid", "\(program.process)", "--as=\(limit):"])
  #expect(try tool.end() == .init(status: 0, output: "", errors: ""))
}
