// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import Testing

@testable import TCPServerKit

@Suite("The bulk of relays", .timeLimit(.minutes(5)))
struct RelaySplicingTests {
  /// Two connections of a relay, and the peers of both.
  private struct Ends: @unchecked Sendable {
    let a: Pair
    let b: Pair
    let pipes: RelayPipes

    init() async throws {
      a = try await Pair()
      b = try await Pair()
      pipes = try #require(a.socket.context.loop?.pipes)
      // Those of the process may be in use by other tests.
      pipes.budget = RelayPipeBudget(most: 64)
    }

    func relay() -> Task<RelayReport, any Error> {
      start { try await a.socket.relay(with: b.socket) }
    }
  }

  private static let size = 8 << 20

  /// Relays bulk both ways, and expects all of it at the other ends.
  private func relayBulk(_ ends: Ends) async throws {
    let (up, down) = (pattern(Self.size), pattern(Self.size, kind: 1))
    let senders = [
      OtherThread {
        ends.a.client.send(up)
        ends.a.client.endWriting()
      },
      OtherThread {
        ends.b.client.send(down)
        ends.b.client.endWriting()
      },
    ]
    let receivers = [ends.b.client.readToEndElsewhere(), ends.a.client.readToEndElsewhere()]
    let report = try await ends.relay().value
    for sender in senders { sender.join() }
    #expect(report == RelayReport(forwarded: UInt64(Self.size), returned: UInt64(Self.size)))
    #expect(receivers[0].join() == Delivery(bytes: up))
    #expect(receivers[1].join() == Delivery(bytes: down))
  }

  @Test("Bulk goes through pipes, which are free after it")
  func bulk() async throws {
    try await onLoop { _ in
      let ends = try await Ends()
      try await relayBulk(ends)
      #expect(ends.pipes.uses > 0)
      #expect(ends.pipes.used == 0)
    }
  }

  @Test("Where no pipe is to be had, bulk is copied")
  func copied() async throws {
    try await onLoop { _ in
      let ends = try await Ends()
      ends.pipes.budget = RelayPipeBudget(most: 0)
      let uses = ends.pipes.uses
      try await relayBulk(ends)
      #expect(ends.pipes.uses == uses)
    }
  }

  @Test("Where the system does not allow splice(2), bulk is copied, and it is not tried again")
  func refused() async throws {
    try await onLoop { _ in
      let ends = try await Ends()
      ends.pipes.put(back: try #require(ends.pipes.take()))
      #expect(!ends.pipes.isRefusal(ECONNRESET))
      for errnum in [ENOSYS, EPERM, EACCES] { #expect(ends.pipes.isRefusal(errnum)) }
      #expect(ends.pipes.take() == nil)
      try await relayBulk(ends)
      #expect(ends.pipes.uses == 1)
    }
  }

  @Test("A connection whose bytes cannot be spliced is copied, and others of its loop are spliced")
  func ofOneConnection() async throws {
    try await onLoop { _ in
      let ends = try await Ends()
      defer { fault_clear() }
      // Once for each direction: then it is not tried again.
      fault_fail(FAULT_SPLICE, 1, 2, EINVAL)
      let failures = fault_failures(FAULT_SPLICE)
      try await relayBulk(ends)
      #expect(fault_failures(FAULT_SPLICE) == failures + 2)
      #expect(ends.pipes.mostMoved == 0)
      try await relayBulk(try await Ends())
      #expect(ends.pipes.mostMoved > 0)
      #expect(ends.pipes.used == 0)
    }
  }

  @Test("Four pipes are kept for the next, and none of more than half of those that there may be")
  func kept() async throws {
    try await onLoop { _ in
      let pipes = try await Ends().pipes
      for (most, kept) in [(64, 4), (6, 3)] {
        pipes.closeFree()
        pipes.budget = RelayPipeBudget(most: most)
        let taken = (0..<6).compactMap { _ in pipes.take() }
        try #require(taken.count == 6)
        if most == 6 { #expect(pipes.take() == nil) }
        for pipe in taken { pipes.put(back: pipe) }
        fault_reset_counts()
        let again = (0..<6).compactMap { _ in pipes.take() }
        #expect(fault_calls(FAULT_PIPE2) == UInt64(6 - kept))
        for pipe in again { pipes.put(back: pipe) }
      }
    }
  }

  @Test("Where a pipe could not be made, none is tried for a second")
  func pause() async throws {
    try await onLoop { _ in
      let pipes = try await Ends().pipes
      fault_stop_clock()
      defer {
        fault_clear()
        fault_reset_clock()
      }
      fault_reset_counts()
      fault_fail(FAULT_PIPE2, 1, 1, EMFILE)
      #expect(pipes.take() == nil && pipes.take() == nil)
      fault_advance_clock(999)
      #expect(pipes.take() == nil)
      #expect(fault_calls(FAULT_PIPE2) == 1)
      fault_advance_clock(1)
      pipes.put(back: try #require(pipes.take()))
    }
  }

  @Test("A server that lacks descriptors gets those of pipes", arguments: [false, true])
  func overloaded(isFree: Bool) async throws {
    try await onLoop { _ in
      let (pipes, server) = (try await Ends().pipes, try listening())
      defer {
        fault_clear()
        fault_reset_clock()
      }
      let pipe = try #require(pipes.take())
      if isFree { pipes.put(back: pipe) }
      fault_stop_clock()
      fault_fail(FAULT_ACCEPT4, 1, 1, EMFILE)
      let client = try #require(PlainClient(to: server))
      try await until { fault_failures(FAULT_ACCEPT4) == 1 }
      if !isFree {
        await turns()
        #expect(!server.hasPendingConnections)
        #expect(pipes.take() == nil)
        pipes.put(back: pipe)
      }
      try await until { server.hasPendingConnections }
      withExtendedLifetime(client) {}
    }
  }

  @Test("An urgent byte within bulk keeps its place, and does not look like the end")
  func urgent() async throws {
    try await onLoop { _ in
      let ends = try await Ends()
      let half = [UInt8](repeating: 1, count: 1 << 20)
      let sender = OtherThread {
        for _ in 0..<4 {
          ends.a.client.send(half)
          var urgent: UInt8 = 2
          while unsafe send(ends.a.client.descriptor, &urgent, 1, CInt(MSG_OOB)) != 1 { usleep(100) }
        }
        ends.a.client.send(half)
        ends.a.client.endWriting()
      }
      let receiver = ends.b.client.readToEndElsewhere()
      ends.b.client.endWriting()
      let report = try await ends.relay().value
      sender.join()
      #expect(report == RelayReport(forwarded: 5 << 20 | 4))
      var expected: [UInt8] = []
      for _ in 0..<4 { expected += half + [2] }
      expected += half
      #expect(receiver.join() == .whole(expected))
      #expect(ends.pipes.uses > 0)
    }
  }

  @Test("Small messages are copied")
  func small() async throws {
    try await onLoop { _ in
      let ends = try await Ends()
      let relaying = ends.relay()
      for _ in 0..<10 {
        ends.a.client.send("a message")
        var received = 0
        try await until {
          received += ends.b.client.receivedCount(atMost: 100)
          return received == 9
        }
      }
      ends.a.client.endWriting()
      ends.b.client.endWriting()
      #expect(try await relaying.value == RelayReport(forwarded: 90))
      #expect(ends.pipes.uses == 0)
    }
  }

  /// Sends from `a` until nothing moves any more, because `b` does not read; returns how much went.
  private func fill(_ ends: Ends) async throws -> Int {
    var (sent, still) = (0, 0)
    while still < 50 {
      let count = ends.a.client.sendWhatFits(1 << 20)
      sent += count
      still = count == 0 ? still + 1 : 0
      await turns(5)
    }
    return sent
  }

  private struct NoFullPipe: Error {}

  /// A relay with a full pipe, because `b` does not read, and how many bytes went into it. Where the piece for which the
  /// kernel had no more room was a small one it was copied, and another relay is tried.
  private func relayWithFullPipe() async throws -> (
    ends: Ends, relaying: Task<RelayReport, any Error>, sent: Int
  ) {
    for _ in 0..<20 {
      let ends = try await Ends()
      let relaying = ends.relay()
      let sent = try await fill(ends)
      if ends.pipes.used == 1, ends.b.socket.bytesToWrite > 0 { return (ends, relaying, sent) }
      relaying.cancel()
      _ = await relaying.result
    }
    throw NoFullPipe()
  }

  @Test("A peer that does not read leaves a pipe full, and gets all of it once it reads")
  func slowPeer() async throws {
    try await onLoop { _ in
      let (ends, relaying, sent) = try await relayWithFullPipe()
      #expect(ends.b.socket.detach() == -1)
      ends.b.client.send("the other way")
      var back = 0
      try await until {
        back += ends.a.client.receivedCount(atMost: 100)
        return back == 13
      }
      ends.a.client.endWriting()
      ends.b.client.endWriting()
      var received = 0
      try await until {
        received += ends.b.client.receivedCount(atMost: 1 << 20)
        return received == sent
      }
      #expect(try await relaying.value == RelayReport(forwarded: UInt64(sent), returned: 13))
      #expect(ends.pipes.used == 0)
      #expect(!ends.b.socket.flags.contains(.watchingWrite))
    }
  }

  @Test("A pipe holds four times the high-water mark")
  func lowMark() async throws {
    try await onLoop { _ in
      let ends = try await Ends()
      ends.b.socket.writeHighWaterMark = 20_000
      let size = 1 << 20
      let sender = OtherThread {
        ends.a.client.send([UInt8](repeating: 1, count: size))
        ends.a.client.endWriting()
      }
      let receiver = ends.b.client.readToEndElsewhere()
      ends.b.client.endWriting()
      #expect(try await ends.relay().value == RelayReport(forwarded: UInt64(size)))
      sender.join()
      #expect(receiver.join().bytes.count == size)
      #expect(ends.pipes.uses > 1 && ends.pipes.mostMoved <= 80_000)
    }
  }

  @Test("A reset, and a cancellation, while a pipe is full closes it", arguments: [false, true])
  func ended(byReset: Bool) async throws {
    try await onLoop { _ in
      let (ends, relaying, _) = try await relayWithFullPipe()
      if byReset { ends.b.client.reset() } else { relaying.cancel() }
      await #expect(throws: (any Error).self) { try await relaying.value }
      #expect(ends.pipes.used == 0)
      try await until { ends.a.socket.state == .unconnected && ends.b.socket.state == .unconnected }
    }
  }

  @Test("Splicing into a connection without a peer is an error, and raises no signal")
  func brokenPipe() throws {
    var ends: [CInt] = [-1, -1]
    let type = CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
    #expect(unsafe socketpair(AF_UNIX, type, 0, &ends) == 0)
    close(ends[1])
    defer { close(ends[0]) }
    let pipe = try #require(RelayPipe())
    #expect(unsafe write(pipe.input, "bytes", 5) == 5)
    guard case .failed(EPIPE) = SystemCalls.splice(fromPipe: pipe.output, to: ends[0], atMost: 5) else {
      Issue.record("The splice did not fail with EPIPE")
      return
    }
  }

  @Test(
    "A signal that is raised after a part was sent is taken, and one that was there before is left",
    arguments: [false, true]
  )
  func brokenMeanwhile(wasPending: Bool) {
    OtherThread {
      var (signals, pending, now) = (sigset_t(), sigset_t(), timespec())
      unsafe sigemptyset(&signals)
      unsafe sigaddset(&signals, SIGPIPE)
      // So that the test sees what is pending; the thread ends with it blocked.
      unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
      if wasPending { pthread_kill(pthread_self(), SIGPIPE) }
      var ends: [CInt] = [-1, -1]
      let type = CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
      #expect(unsafe socketpair(AF_UNIX, type, 0, &ends) == 0)
      Descriptors.setOption(ends[0], SOL_SOCKET, SO_SNDBUF, 4608)
      guard let pipe = RelayPipe() else {
        Issue.record("There is no pipe")
        return
      }
      // The kernel sends 16 pages at once: a part is half of it.
      let bytes = [UInt8](repeating: 1, count: 131_072)
      #expect(unsafe write(pipe.input, bytes, bytes.count) == bytes.count)
      let (peer, descriptor) = (ends[1], ends[0])
      // The socket blocks: the splice has sent a part, and waits to send the rest.
      let closer = OtherThread {
        _ = Descriptors.wait(peer, for: POLLIN, msec: 60_000)
        usleep(50_000)
        close(peer)
      }
      let outcome = SystemCalls.splice(fromPipe: pipe.output, to: descriptor, atMost: bytes.count)
      closer.join()
      if case .value(let count) = outcome {
        #expect(count > 0 && count < bytes.count)
      } else {
        Issue.record("The splice has sent nothing")
      }
      #expect(unsafe sigpending(&pending) == 0)
      #expect(unsafe sigismember(&pending, SIGPIPE) == (wasPending ? 1 : 0))
      unsafe _ = sigtimedwait(&signals, nil, &now)
      close(descriptor)
    }.join()
  }

  @Test("A pipe that is too small is none")
  func smallPipe() {
    #expect(SystemCalls.openPipe(holding: 1 << 16, atLeast: 1 << 40) == nil)
  }
}
