// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

/// Every operation in every place. The sanitizers judge the memory; here it is whether the server listens as the
/// operation says, serves the next client, has lost no connection, and leaves no object and no descriptor.
@Suite("Any call in any place", .blocking, .timeLimit(.minutes(5)))
struct ReentrancyMatrixTests {
  /// Fifty cells each, or as many as it takes the seconds that the environment variable THREADS_SECONDS says. Not more
  /// by default: each leaves ports behind that the kernel keeps for a minute, and everybody's tests need some.
  @Test("So it is on eight threads at once")
  func threads() {
    let deadline = Environment.number("THREADS_SECONDS").map { ContinuousClock.now + .seconds($0) }
    let cells = Counter()
    let threads = (1...8).map { seed in
      OtherThread {
        var random = SeededGenerator(state: UInt64(seed))
        var (done, failed) = (0, false)
        while !failed, deadline.map({ .now < $0 }) ?? (done < 50),
          let place = Place.allCases.randomElement(using: &random),
          let operation = Operation.allCases.randomElement(using: &random)
        {
          do {
            try cell(place: place, operation: operation)
          } catch {
            failed = true
            Issue.record(error, "\(operation) in \(place)")
          }
          done += 1
          cells.increment()
        }
      }
    }
    threads.forEach { $0.join() }
    #expect(cells.value >= 8)
  }

  @Test("Is defined", arguments: Place.allCases, Operation.allCases)
  func cell(place: Place, operation: Operation) throws {
    // A task that waits for a loop which no thread runs any more waits for ever.
    guard !(place.isAsync && operation == .releaseLoopToo) else { return }
    weak var base: EventBase?
    weak var server: TCPServer?
    var clients: [PlainClient] = []
    do {
      let stage = try Stage(place, operation)
      base = stage.base
      server = stage.server
      let listening = OpenFile(stage.server?.socketDescriptor ?? -1)
      #expect(stage.play())
      if operation == .release || operation == .releaseLoopToo {
        #expect(stage.endTask(cancels: true))
        #expect(server == nil)
        #expect(listening?.isOpen != true)
      } else {
        try goOn(stage, place, operation)
      }
      #expect(stage.endTask(cancels: stage.server?.isListening ?? true))
      clients = stage.clients
      withExtendedLifetime(stage) {}
    }
    #expect(server == nil)
    #expect(base == nil)
    for client in clients where client.descriptor >= 0 {
      var input = client.nextInput()
      while case .bytes = input { input = client.nextInput() }
      #expect([.end, .failed(ECONNRESET)].contains(input))
    }
  }

  private func goOn(_ stage: Stage, _ place: Place, _ operation: Operation) throws {
    let server = try #require(stage.server)
    expectBalanced(server)
    #expect(server.isListening == (operation.listens || !operation.stops && !place.isBroken))
    if operation == .stopLoop {
      stage.base?.run()
    }
    server.newConnection.disconnectAll()
    server.acceptError.disconnectAll()
    server.onIncoming = { server, descriptor in server.takeDefault(descriptor) }
    server.maxPendingConnections = 30
    server.descriptorReserve = 0
    server.maxConnections = nil
    server.admissionHandler = nil
    server.resumeAccepting()
    if server.isListening {
      #expect(try stage.servesLateClient())
    }
    expectBalanced(server)
  }
}

/// The same numbers in each run.
private struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    let mixed = (state ^ (state >> 30)) &* 0xbf58_476d_1ce4_e5b9
    return mixed ^ (mixed >> 31)
  }
}

private enum Environment {
  static func number(_ name: String) -> Int? {
    unsafe getenv(name).flatMap { unsafe Int(String(cString: $0)) }
  }
}
