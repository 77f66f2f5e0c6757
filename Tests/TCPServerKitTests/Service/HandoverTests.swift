// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

@testable import TCPServerKit

/// Asks again where one of the two sides, a task of this process, has waited for a thread for longer than the other waits
/// for it.
func takeOver(at path: String, into inherited: InheritedSockets) async throws -> Predecessor? {
  while true {
    do throws(HandoverError) {
      return try await Predecessor.takeOver(at: path, into: inherited)
    } catch {
      guard [ETIMEDOUT, ECONNRESET, EPIPE].contains(where: { error == HandoverError(errnum: $0) }) else {
        throw error
      }
    }
    try Task.checkCancellation()
  }
}

/// Both sides of a hot restart, here in one process.
@Suite("Hot restart", .timeLimit(.minutes(5)))
struct HandoverTests {
  /// A server whose sockets are offered at a path, until a successor is ready.
  private func offered(
    _ servers: [String: TCPServerGroup],
    at path: String,
    timeout: Duration = .seconds(60)
  ) async throws -> Task<Successor, any Error> {
    let waiting = Task { try await Successor.waitUntilReady(for: servers, at: path, timeout: timeout) }
    try await until { unsafe access(path, F_OK) == 0 }
    return waiting
  }

  /// A server that listens, and that a successor may take over by the name of http.
  private func whileOffered(
    timeout: Duration = .seconds(60),
    _ body: @escaping @Sendable (TCPServerGroup, String, Task<Successor, any Error>) async throws -> Void
  ) async throws {
    try await onLoops(1) { loops in
      let folder = try TemporaryFolder()
      let path = folder.path + "/control"
      defer { unsafe unlink(folder.path + "/control") }
      let server = TCPServerGroup(on: loops)
      try await server.listen(address: .localHost)
      let waiting = try await offered(["http": server], at: path, timeout: timeout)
      defer { waiting.cancel() }
      try await body(server, path, waiting)
      #expect(server.isListening)
      server.close()
    }
  }

  @Test("A successor accepts from the same queue, and then alone", arguments: Distribution.eachWay)
  func takesOver(distribution: Distribution) async throws {
    try await onLoops(2) { loops in
      let folder = try TemporaryFolder()
      let path = folder.path + "/control"
      defer { unsafe unlink(folder.path + "/control") }
      let first = TCPServerGroup(on: loops, distribution: distribution)
      try await first.listen(address: .localHost)
      let port = first.serverPort
      let waiting = try await offered(["http": first, "admin": TCPServerGroup(on: loops)], at: path)

      let inherited = InheritedSockets()
      let predecessor = try #require(try await takeOver(at: path, into: inherited))
      let count = if case .shards = distribution { 2 } else { 1 }
      #expect(inherited.names == Array(repeating: "http", count: count))
      #expect(predecessor.process == getpid())
      let second = TCPServerGroup(on: loops, distribution: distribution)
      try await second.listen(on: .inherited("http", from: inherited, port: 0))
      #expect(inherited.names == [])
      #expect(second.serverPort == port)
      try predecessor.ready()
      #expect(try await waiting.value.process == getpid())

      first.close()
      try await until { !first.isListening }
      try await first.withServers { _, _ in }
      try await whileServing(second) { socket in
        try await socket.write("x")
      } _: {
        for _ in 0..<20 {
          let client = try #require(PlainClient(port: port))
          #expect(client.receive(exactly: 1) == [UInt8(ascii: "x")])
        }
      }
    }
  }

  @Test("At a path the successor is found when its predecessor has finished", arguments: [true, false])
  func takesOverPath(isReady: Bool) async throws {
    try await onLoops(1) { loops in
      let folder = try TemporaryFolder()
      let (path, place) = (folder.path + "/control", folder.path + "/server")
      defer { unsafe unlink(folder.path + "/control") }
      let first = TCPServerGroup(on: loops)
      try await first.listen(path: place)
      let waiting = try await offered(["http": first], at: path)
      let inherited = InheritedSockets()
      let predecessor = try #require(try await takeOver(at: path, into: inherited))
      if isReady {
        try predecessor.ready()
        _ = try await waiting.value
      } else {
        // The old process stops waiting, as one that ends: the new one has the socket, but not the file.
        waiting.cancel()
        _ = await waiting.result
        #expect(throws: HandoverError(errnum: EPIPE)) { try predecessor.ready() }
      }
      first.finish()
      try await until { !first.isListening }
      try await first.withServers { _, _ in }
      #expect((PlainClient(path: place) != nil) == isReady)
      #expect((unsafe unlink(place) == 0) == isReady)
    }
  }

  @Test("Where no process offers its sockets there is no predecessor")
  func none() async throws {
    let folder = try TemporaryFolder()
    let inherited = InheritedSockets()
    #expect(try await Predecessor.takeOver(at: folder.path + "/control", into: inherited) == nil)
    #expect(inherited.names == [])
  }

  @Test("A successor that ends before it is ready leaves the process as it was, and the next one may come")
  func ends() async throws {
    try await whileOffered { _, path, waiting in
      for _ in 0..<3 {
        #expect(try await takeOver(at: path, into: InheritedSockets()) != nil)
      }
      let inherited = InheritedSockets()
      let predecessor = try #require(try await takeOver(at: path, into: inherited))
      try predecessor.ready()
      _ = try await waiting.value
      #expect(inherited.names == ["http"])
    }
  }

  @Test("What was to be offered, and was not, is closed")
  func notOffered() throws {
    var ends: [CInt] = [-1, -1]
    #expect(unsafe pipe(&ends) == 0 && fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0)
    defer { close(ends[0]) }
    _ = OfferedSockets([("http", ends[1])])
    var byte: UInt8 = 0
    #expect(unsafe read(ends[0], &byte, 1) == 0)
  }

  @Test("A time is one in whole milliseconds, and none of it is lost")
  func milliseconds() {
    #expect(Duration.zero.wholeMilliseconds == 0)
    #expect(Duration.nanoseconds(1).wholeMilliseconds == 1)
    #expect(Duration.milliseconds(500).wholeMilliseconds == 500)
    #expect(Duration.milliseconds(2999).wholeMilliseconds == 2999)
  }

  @Test("One that is not ready in time is given up")
  func late() async throws {
    try await whileOffered(timeout: .zero) { _, path, _ in
      // They come one after the other: the second one, because the first was given up.
      let first = try await takeOver(at: path, into: InheritedSockets())
      let second = try await takeOver(at: path, into: InheritedSockets())
      #expect(first != nil && second != nil)
    }
  }

  @Test(
    "Waiting is cancelled while no successor comes, and while one is not ready",
    arguments: [false, true]
  )
  func cancelled(hasCome: Bool) async throws {
    try await whileOffered { _, path, waiting in
      let predecessor = hasCome ? try await takeOver(at: path, into: InheritedSockets()) : nil
      #expect((predecessor != nil) == hasCome)
      waiting.cancel()
      await #expect(throws: CancellationError.self) { try await waiting.value }
    }
  }

  @Test("Secrets and counters arrive with the sockets, and what became of the connections at the end")
  func values() async throws {
    try await onLoops(1) { loops in
      let folder = try TemporaryFolder()
      let path = folder.path + "/control"
      defer { unsafe unlink(folder.path + "/control") }
      let sent = HandoverValues(
        secrets: ["ticket keys": [0, 1, 255], "empty": [], "long": Array(repeating: 7, count: 4000)],
        counters: ["served": .max, "failed": 0]
      )
      let server = TCPServerGroup(on: loops)
      try await server.listen(address: .localHost)
      let waiting = Task {
        try await Successor.waitUntilReady(for: ["http": server], at: path) { sent }
      }
      try await until { unsafe access(path, F_OK) == 0 }
      let predecessor = try #require(try await takeOver(at: path, into: InheritedSockets()))
      #expect(predecessor.values == sent)
      try predecessor.ready()
      let successor = try await waiting.value
      var report = ServingReport()
      (report.served, report.cancelled) = (7, 2)
      try successor.drained(report)
      #expect(try await predecessor.waitUntilDrained() == Predecessor.Drained(served: 5, cut: 2))
      server.close()
    }
  }

  @Test("A predecessor that ends without a word, and one that is not waited for any longer")
  func notDrained() async throws {
    try await whileOffered { _, path, waiting in
      let predecessor = try #require(try await takeOver(at: path, into: InheritedSockets()))
      #expect(predecessor.values == HandoverValues())
      try predecessor.ready()
      var successor: Successor? = try await waiting.value
      _ = successor?.process
      let drained = Task { try await predecessor.waitUntilDrained() }
      drained.cancel()
      await #expect(throws: CancellationError.self) { try await drained.value }
      await #expect(throws: HandoverError(errnum: ECONNRESET)) { try await predecessor.waitUntilDrained() }
      #expect(throws: HandoverError(errnum: EPIPE)) { try successor?.drained(ServingReport()) }
      successor = nil
    }
  }

  @Test(
    "Values that do not fit are an error at once",
    arguments: [
      HandoverValues(secrets: ["a": Array(repeating: 0, count: 4001)]),
      HandoverValues(secrets: ["": []]),
      HandoverValues(counters: [String(repeating: "x", count: 65): 1]),
      HandoverValues(secrets: Dictionary(uniqueKeysWithValues: (0...16).map { ("\($0)", []) })),
      HandoverValues(counters: Dictionary(uniqueKeysWithValues: (0...48).map { ("\($0)", 0) })),
    ]
  )
  func refusedValues(values: HandoverValues) async throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/control"
    defer { unsafe unlink(folder.path + "/control") }
    let waiting = Task { try await Successor.waitUntilReady(for: [:], at: path) { values } }
    try await until { unsafe access(path, F_OK) == 0 }
    // Noticed when it asks or when it waits for the answer: the other has ended at once, but where its task has waited for
    // a thread longer than an answer may take.
    let error = await #expect(throws: HandoverError.self) {
      _ = try await Predecessor.takeOver(at: path, into: InheritedSockets())
    }
    #expect(
      ["The other process has ended, or has given this one up", "The other process has not answered in time"]
        .contains(error?.description)
    )
    await #expect(throws: HandoverError(errnum: EINVAL)) { try await waiting.value }
  }

  @Test("What cannot be offered is an error at once")
  func refused() async throws {
    try await onLoops(1) { loops in
      let folder = try TemporaryFolder()
      try folder.write("", to: "file")
      await #expect(throws: HandoverError(errnum: EADDRINUSE)) {
        _ = try await Successor.waitUntilReady(for: [:], at: folder.path + "/file")
      }
      let path = folder.path + "/control"
      defer { unsafe unlink(folder.path + "/control") }
      let server = TCPServerGroup(on: loops)
      try await server.listen(address: .localHost)
      let waiting = try await offered([String(repeating: "x", count: 65): server], at: path)
      // As with values that do not fit.
      let error = await #expect(throws: HandoverError.self) {
        _ = try await Predecessor.takeOver(at: path, into: InheritedSockets())
      }
      #expect(
        [
          "The other process has ended, or has given this one up",
          "The other process has not answered in time",
        ]
        .contains(error?.description)
      )
      await #expect(throws: HandoverError(errnum: EINVAL)) { try await waiting.value }
      server.close()
    }
  }

  @Test(
    "Each error has a text",
    arguments: [
      (EPERM, "The other process is another user's"),
      (EPROTO, "The other process does not keep to the protocol"),
      (ETIMEDOUT, "The other process has not answered in time"),
      (ECONNRESET, "The other process has ended, or has given this one up"),
      (EPIPE, "The other process has ended, or has given this one up"),
      (EADDRINUSE, "There is something else at the path"),
      (EINVAL, "The sockets or values, or their names, are too long or too many"),
      (EMFILE, "Too many open files"),
    ]
  )
  func texts(errnum: CInt, text: String) {
    #expect(HandoverError(errnum: errnum).description == text)
  }
}
