// SPDX-License-Identifier: Apache-2.0

extension GracefulShutdown {
  /// Begins the shutdown when the process receives one of these signals, `SIGINT` for Ctrl-C among them.
  ///
  /// ```swift
  /// shutdown.beginOnSignals(SIGTERM, delay: .seconds(5), timeout: .seconds(20))
  /// shutdown.beginOnSignals(SIGINT, timeout: .seconds(10))
  /// ```
  ///
  /// The first signal announces the shutdown, and without a delay begins it. One that comes during the delay skips the
  /// rest of that. One that comes when the shutdown has begun, a second Ctrl-C for instance, ends its time: handlers
  /// still at work are cancelled. After that one the signals do what they did before.
  ///
  /// The next signal then ends the process, as it does by default. So does the third one that a loop that hangs has not
  /// heard.
  ///
  /// Any number of shutdowns and event bases may ask for the same signal: all of them receive it, and for a shutdown it
  /// counts once. The servers may be on any loops. The library touches signals only here and in
  /// ``EventBase/stopOnSignals(_:)``. In a child of `fork()` they do what they do by default.
  ///
  /// - Parameters:
  ///   - signals: `SIGINT`, `SIGTERM` or others that a process can take.
  ///   - delay: how long servers go on accepting after the first signal. Less than zero counts as zero.
  ///   - timeout: how long the handlers may take from then on. Less than zero counts as zero.
  ///   - eventBase: the loop that hears the signals while it runs, and keeps the shutdown alive; by default the thread's
  ///     own, without which a line on standard error says so. The call itself may come from any thread.
  /// - Returns: false without an event base, when one of the signals cannot be taken, and when descriptors are short;
  ///   then all of them do what they did before.
  @discardableResult
  public func beginOnSignals(
    _ signals: CInt...,
    delay: Duration = .zero,
    timeout: Duration = .seconds(30),
    eventBase: EventBase? = .current
  ) -> Bool {
    guard let engine = eventBase?.engine else {
      // A program that goes on would be ended by the signal without its shutdown.
      SystemCalls.warn(
        """
        TCPServerKit: GracefulShutdown.beginOnSignals(_:) takes no signal, because it was called where there is no \
        EventBase. Call it within EventBase.withThread(_:) or EventBaseGroup.withThreads(_:), or name an eventBase.
        """
      )
      return false
    }
    self.signals.withLock { $0.add(Set(signals)) }
    // 0 is no signal, and none of a call without signals comes.
    let signal = signals.first ?? 0
    let heard = Locked(0)
    return engine.watchSignals(signals) { [self] in
      let number = heard.withLock { heard in
        heard += 1
        return heard
      }
      return signalCame(number, of: signal, delay.limited, timeout)
    }
  }

  private func signalCame(
    _ number: Int,
    of signal: CInt,
    _ delay: Duration,
    _ timeout: Duration
  ) -> SignalWatch.Answer {
    // Decided in the lock and done outside of it, because that runs others' code.
    let (answer, isNew, hasBegun) = signals.withLock { signals in
      let hasBegun = self.hasBegun
      let (answer, isNew) = signals.answer(to: number, of: signal) {
        if hasBegun { return number == 1 ? .begun : .finished }
        return isAnnounced || delay == .zero ? .begun : .done
      }
      return (answer, isNew, hasBegun)
    }
    if isNew { begin(delay: delay, timeout: hasBegun ? .zero : timeout) }
    return answer
  }
}

/// The signals that a shutdown was asked to begin on, and what each has brought.
struct SignalsHeard {
  /// Calls that have a signal in common count together, because that comes to the loop of each.
  private struct Series {
    var signals: Set<CInt>
    var answers: [SignalWatch.Answer] = []
  }

  private var all: [Series] = []

  mutating func add(_ signals: Set<CInt>) {
    var series = Series(signals: signals)
    for other in all where !other.signals.isDisjoint(with: signals) {
      series.signals.formUnion(other.signals)
      if other.answers.count > series.answers.count { series.answers = other.answers }
    }
    all.removeAll { !$0.signals.isDisjoint(with: signals) }
    all.append(series)
  }

  /// - Parameters:
  ///   - number: which of its series this one is, for the loop that heard it.
  ///   - signal: one of the series.
  ///   - decide: gives the answer to the first loop that hears it.
  /// - Returns: the answer, and whether it is the first loop's.
  mutating func answer(
    to number: Int,
    of signal: CInt,
    _ decide: () -> SignalWatch.Answer
  ) -> (answer: SignalWatch.Answer, isNew: Bool) {
    guard let index = all.firstIndex(where: { $0.signals.contains(signal) }) else { return (.done, false) }
    if number <= all[index].answers.count { return (all[index].answers[number - 1], false) }
    let answer = decide()
    all[index].answers.append(answer)
    return (answer, true)
  }
}
