// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// The bulk of a relay: bytes that go from one plain connection to another on the same loop stay in the kernel.
extension TCPSocket {
  /// After a piece of this size the bytes that follow are spliced. To copy smaller ones costs less than the calls on a
  /// pipe do.
  static let leastSpliced = 16384

  private enum Filling {
    case filled(RelayPipe)
    case end
    /// The bytes are to be copied.
    case copy
  }

  /// Whether what this connection receives can go to another one without being copied.
  func maySplice(to target: TCPSocket) -> Bool {
    bytesHeld == 0 && target.output == nil && isPlain && target.isPlain
      && !(existingDetails?.relay?.isCopied ?? false)
  }

  /// A TCP connection whose bytes no transport changes.
  private var isPlain: Bool {
    transportSlot == nil && !isUnix && currentState == .connected
  }

  /// Moves the next bytes to `target`, on this socket's loop.
  ///
  /// - Returns: how many went; 0 at the end of the input; nil when they are to be copied.
  func splice(to target: TCPSocket) async throws -> Int? {
    guard let pipes = context.loop?.pipes else { return nil }
    let most = min(target.writeMarks.high, RelayPipe.wantedSize / 4) * 4
    let pipe: RelayPipe
    switch try await reading(nil, { try $0.fillPipe(of: pipes, atMost: most) }) {
    case .filled(let filled): pipe = filled
    case .end: return 0
    case .copy: return nil
    }
    let count = pipe.count
    target.existingDetails?.relay?.pipe = pipe
    defer {
      target.existingDetails?.relay?.pipe = nil
      pipes.put(back: pipe)
    }
    try await target.writing(count, nil) { socket, _ in try socket.empty(pipe) }
    return count
  }

  /// - Returns: nil when nothing has come yet.
  private func fillPipe(of pipes: RelayPipes, atMost most: Int) throws -> Filling? {
    guard bytesHeld == 0 else { return .copy }
    if try hasEnded() { return .end }
    guard !flags.contains(.drained) else { return nil }
    guard let pipe = pipes.take() else { return .copy }
    let outcome = SystemCalls.splice(from: descriptor, intoPipe: pipe.input, atMost: min(most, pipe.size))
    if case .value(let count) = outcome, count > 0 {
      pipe.count = count
      pipes.noteFilled(pipe)
      // A pipe may be full of small pieces before it holds `most` bytes.
      if spendsTurnBudget(count) || count < Self.leastSpliced { flags.insert(.drained) }
      return .filled(pipe)
    }
    pipes.put(back: pipe)
    return try look(after: outcome, pipes)
  }

  /// A splice that has brought nothing need not mean that nothing is there: it stops before an urgent byte, as if that
  /// were the end.
  ///
  /// - Returns: nil when nothing has come yet.
  private func look(after outcome: SystemCalls.Outcome, _ pipes: RelayPipes) throws -> Filling? {
    if case .failed(let errnum) = outcome, !outcome.wouldBlock {
      if errnum == EINVAL { existingDetails?.relay?.isCopied = true }
      return errnum == EINVAL || pipes.isRefusal(errnum) ? .copy : try endInput(after: outcome)
    }
    let peeked = SystemCalls.peekInput(descriptor)
    if case .value(let count) = peeked, count > 0 { return .copy }
    return try endInput(after: peeked)
  }

  private func endInput(after outcome: SystemCalls.Outcome) throws -> Filling? {
    try handleUnread(outcome)
    return try hasEnded() ? .end : nil
  }

  /// - Returns: how many more bytes the kernel has taken.
  private func empty(_ pipe: RelayPipe) throws -> Int {
    guard mayWrite() else { throw lastError }
    var taken = 0
    if sendable == 0, pipe.count > 0 {
      let outcome = SystemCalls.splice(fromPipe: pipe.output, to: descriptor, atMost: pipe.count)
      guard case .value(let count) = note(outcome) else { throw lastError }
      taken = count
      pipe.count -= count
      announceWrittenSoon()
    }
    // Where nothing is held, nothing else ends the watch.
    if pipe.count == 0, sendable == 0 { watchWrite(false) }
    return taken
  }
}
