// SPDX-License-Identifier: Apache-2.0

internal import Synchronization

/// What ``TCPSocket/relay(with:idleTimeout:)`` has passed on.
public struct RelayReport: Hashable, Sendable {
  /// How many bytes went from the socket whose `relay` was called to the other one.
  public var forwarded: UInt64
  /// How many bytes went back.
  public var returned: UInt64

  /// Makes a report.
  public init(forwarded: UInt64 = 0, returned: UInt64 = 0) {
    self.forwarded = forwarded
    self.returned = returned
  }
}

/// Passing on, between two connections, whatever comes.
extension TCPSocket {
  /// Passes on everything between this connection and another, both ways at once, until both have ended.
  ///
  /// ```swift
  /// try await server.serve { client in
  ///   let upstream = TCPSocket()
  ///   try await upstream.connect(to: "localhost", port: 8080, timeout: .seconds(10))
  ///   try await client.relay(with: upstream, idleTimeout: .seconds(300))
  /// }
  /// ```
  ///
  /// - A peer that ends its side ends one direction: the other peer sees the end after the last byte, and may go on
  ///   sending.
  /// - A connection that breaks, or that the program ends meanwhile, takes the other with it, by a reset.
  /// - A slow peer holds up its own direction alone. Of each direction at most ``writeHighWaterMark`` bytes are held, and
  ///   16 KiB are read ahead; and of bulk at most four times the mark is in a pipe, and no more than 256 KiB.
  ///
  /// Both sockets are the relay's until it returns: nothing else reads or writes them, and none of their signals that
  /// read has a handler. When it returns or throws, both connections have ended, or are ``SocketState/closing`` while the
  /// kernel delivers the last bytes; what was not passed on is lost.
  ///
  /// On one event base, bytes go from one connection to the other without being copied, as long as the kernel takes
  /// them, and no thread is changed. Bulk between two TCP connections that are not encrypted stays in the kernel: a
  /// direction whose pieces have 16 KiB and more moves them by splice(2) through a pipe, two descriptors that it has
  /// only while there are bytes in it. The relays of the process use at most 64 pipes at once, and each event base keeps
  /// up to 4 for the next: with 64 pages each, they stay within `/proc/sys/fs/pipe-user-pages-soft`, 16,384 pages for all
  /// pipes of a user. Where there is none to be had, where a server of the event base lacks descriptors, and where the
  /// system does not allow splice(2), bytes are copied.
  ///
  /// Two sockets of different event bases cost a copy, and a hop there and back, for each piece of at most 64 KiB.
  ///
  /// - Parameters:
  ///   - other: the other connection, of any event base.
  ///   - idleTimeout: how long neither peer may send or acknowledge a byte; nil sets no limit.
  /// - Returns: how many bytes went each way.
  /// - Throws: what broke one of the connections, such as ``SocketError/remoteHostClosed`` for a reset;
  ///   ``SocketError/socketTimeout`` after `idleTimeout`; ``SocketError/remoteHostClosed`` when the program has ended one
  ///   of them; ``SocketError/operation`` for one that another task reads or whose signals do. Both connections have been
  ///   reset then. ``SocketError/operation``, too, for a socket without an event base, and for a socket with itself, whose
  ///   connections stay.
  ///
  /// ## Cancellation
  ///
  /// Resets both connections, and throws `CancellationError`.
  ///
  /// ## Isolation
  ///
  /// May be called from any task. Each socket is read on its own event base.
  @discardableResult
  public func relay(with other: TCPSocket, idleTimeout: Duration? = nil) async throws -> RelayReport {
    try await onLoop { try await $0.relayHere(other, idleTimeout) }
  }

  private func relayHere(_ other: TCPSocket, _ idleTimeout: Duration?) async throws -> RelayReport {
    guard other !== self else { throw refuseAsync("A relay of a socket with itself") }
    guard let engine, let otherEngine = other.confinement as? EventEngine else {
      throw refuseWithoutLoop()
    }
    let (forwarded, returned) = (ByteCount(), ByteCount())
    do {
      details.relay = RelaySide(other)
      await other.onLoop { $0.details.relay = RelaySide(self) }
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addImmediateTask { try await self.passOn(to: other, counting: forwarded) }
        if otherEngine === engine {
          group.addImmediateTask { try await other.passOn(to: self, counting: returned) }
        } else {
          group.addTask { try await other.onLoop { try await $0.passOn(to: self, counting: returned) } }
        }
        if let limit = idleTimeout?.limited {
          group.addTask {
            try await self.waitUntilIdle(with: other, for: limit) { forwarded.now &+ returned.now }
          }
        }
        // The two directions: what waits for silence ends by an error alone.
        for _ in 0..<2 { try await group.next() }
        group.cancelAll()
      }
    } catch {
      abort()
      other.abort()
      let reasons = [leaveRelay(), await other.onLoop { $0.leaveRelay() }]
      throw error is CancellationError ? error : reasons.compactMap(\.self).first ?? error
    }
    leaveRelay()
    disconnectFromHost()
    await other.onLoop {
      $0.leaveRelay()
      $0.disconnectFromHost()
    }
    return RelayReport(forwarded: forwarded.now, returned: returned.now)
  }

  /// One direction, on this socket's loop, until the peer has ended its side.
  private func passOn(to target: TCPSocket, counting count: ByteCount) async throws {
    if target.confinement === confinement {
      var isBulk = false
      while true {
        if isBulk, maySplice(to: target), let passed = try await splice(to: target) {
          guard passed > 0 else { break }
          count.add(passed)
          isBulk = passed >= Self.leastSpliced
          continue
        }
        if target.held >= target.writeMarks.high { try await target.waitUntilWritable() }
        var passed = 0
        try await lendNext(max(target.writeMarks.high - target.held, 1), nil) { bytes in
          passed = bytes.byteCount
          try target.takeRelayed(bytes)
        }
        guard passed > 0 else { break }
        count.add(passed)
        isBulk = passed >= Self.leastSpliced
      }
    } else {
      while let bytes = try await read(maxLength: ReadBuffer.size) {
        try await target.write(bytes)
        count.add(bytes.count)
      }
    }
    guard currentState != .unconnected else { throw SocketError.remoteHostClosed }
    target.finishWriting()
    try await target.waitUntilWritten()
  }

  /// Gives the kernel what it takes of bytes for which there is room, and holds the rest.
  private func takeRelayed(_ bytes: RawSpan) throws {
    let written = unsafe bytes.withUnsafeBytes { unsafe writeHere($0, isLimited: false) }
    guard written >= 0 else { throw lastError }
  }

  /// Returns by an error alone: ``SocketError/socketTimeout`` when neither peer has sent or acknowledged a byte for so
  /// long.
  private func waitUntilIdle(
    with other: TCPSocket,
    for limit: Duration,
    _ relayed: @Sendable () -> UInt64
  ) async throws {
    guard let engine else { return }
    var progress: [UInt64] = []
    var since = ContinuousClock.now
    while true {
      // Before the numbers: what moves while this task is held up, or goes to the other loop, counts.
      let time = ContinuousClock.now
      // Asked of the kernel, because a slow peer that takes bytes is not idle.
      let now = [relayed(), acknowledged, await other.onLoop { $0.acknowledged }]
      if now != progress {
        progress = now
        since = .now
      }
      guard time - since < limit else { break }
      // More often than at the end, because a look finds that there was progress, but not when.
      let waiter = WaiterQueue.Waiter()
      waiter.begin()
      let timer = LoopTimer(engine, after: max(min(limit / 8, since + limit - .now), .milliseconds(1))) {
        waiter.wake(.ready)
      }
      let reason = await engine.suspend(on: waiter)
      withExtendedLifetime(timer) {}
      if reason == .cancelled { throw CancellationError() }
    }
    record(.timedOut)
    throw SocketError.socketTimeout
  }

  private var acknowledged: UInt64 {
    descriptor < 0 ? 0 : SystemCalls.acknowledgedBytes(descriptor)
  }

  /// The connection has ended: the other one ends with it.
  func endRelay(_ relay: RelaySide) {
    if flags.contains(.broken) { relay.failure = lastError }
    relay.other.abort()
  }

  /// - Returns: what has broken the connection, if anything has.
  @discardableResult
  private func leaveRelay() -> SocketError? {
    exchange(&details.relay, with: nil)?.failure
  }
}

/// The relay of a socket, as it is there until the relay ends: a cycle of references.
final class RelaySide {
  let other: TCPSocket
  /// What has broken this socket's connection: its last error is soon that of a task that was woken for it.
  var failure: SocketError?
  /// The kernel does not splice what this socket receives: it is of a kind that cannot be.
  var isCopied = false
  /// What holds bytes for this socket that the kernel has not taken yet.
  var pipe: RelayPipe?

  init(_ other: TCPSocket) {
    self.other = other
  }
}

/// Bytes that one task counts, and others look at.
private final class ByteCount: Sendable {
  private let count = Atomic<UInt64>(0)

  var now: UInt64 {
    count.load(ordering: .relaxed)
  }

  func add(_ bytes: Int) {
    count.add(UInt64(bytes), ordering: .relaxed)
  }
}
