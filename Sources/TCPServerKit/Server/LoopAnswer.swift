// SPDX-License-Identifier: Apache-2.0

/// What a loop answers a question of another thread, which does not wait for one that is stuck.
final class LoopAnswer<Value: Sendable>: Sendable {
  private struct State {
    var asker: CheckedContinuation<Value?, Never>?
    var isOver = false
    /// What came before the asker had begun to wait.
    var answer: Value?
    /// When the loop was asked, or has last shown that it goes on.
    var lastSign = ContinuousClock.now
  }

  private let state = Locked(State())

  /// Has `engine` run `body` as a task of its own, soon.
  ///
  /// - Parameters:
  ///   - patience: how long the loop may show no sign; see ``isWanted()``.
  ///   - body: is given how long the loop took until it began.
  /// - Returns: nil when the loop showed none for so long. Then the answer is thrown away when it comes.
  static func ask(
    _ engine: EventEngine,
    patience: Duration,
    _ body: @escaping @Sendable (LoopAnswer, _ delay: Duration) async -> Value
  ) async -> Value? {
    let answer = LoopAnswer()
    let begin = ContinuousClock.now
    engine.post(
      .closure {
        // What it does in several turns is a task; with the loop's executor it begins here, not in the pool.
        guard answer.isWanted(), let executor = engine.eventBase?.taskExecutor else { return }
        let delay = ContinuousClock.now - begin
        Task(executorPreference: executor) { answer.end(await body(answer, delay)) }
      }
    )
    let watchdog = Task.detached {
      while let left = answer.left(of: patience) { try await Task.sleep(for: left) }
      answer.end(nil)
    }
    defer { watchdog.cancel() }
    return await withCheckedContinuation { answer.wait($0) }
  }

  /// The loop shows that it goes on.
  ///
  /// - Returns: whether the answer is still waited for.
  func isWanted() -> Bool {
    state.withLock { state in
      state.lastSign = .now
      return !state.isOver
    }
  }

  private func wait(_ asker: CheckedContinuation<Value?, Never>) {
    let (isOver, answer) = state.withLock { state in
      if !state.isOver { state.asker = asker }
      return (state.isOver, state.answer)
    }
    if isOver { asker.resume(returning: answer) }
  }

  private func end(_ answer: Value?) {
    let asker = state.withLock { state in
      guard !state.isOver else { return CheckedContinuation<Value?, Never>?.none }
      state.isOver = true
      state.answer = answer
      return exchange(&state.asker, with: nil)
    }
    asker?.resume(returning: answer)
  }

  /// Nil when it is over.
  private func left(of patience: Duration) -> Duration? {
    state.withLock { state in
      let left = state.lastSign + patience.limited - .now
      return state.isOver || left <= .zero ? nil : left
    }
  }
}
