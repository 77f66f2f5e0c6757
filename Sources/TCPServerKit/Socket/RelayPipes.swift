// SPDX-License-Identifier: Apache-2.0

internal import Glibc
internal import Synchronization

/// A pipe through which a relay moves bytes that stay in the kernel. Holds two descriptors.
///
/// `@unchecked Sendable` because of this invariant: it is used on the loop's thread alone.
final class RelayPipe: @unchecked Sendable {
  let input: CInt
  let output: CInt
  /// How many bytes it holds at most.
  let size: Int
  /// How many bytes are in it now.
  var count = 0
  private let budget: RelayPipeBudget?
  private var isOpen = true

  /// What a pipe is to hold. The kernel makes those of a user with many pipes smaller; below `leastSize` they are of no
  /// use.
  static let wantedSize = 1 << 18
  static let leastSize = 1 << 16

  /// - Parameter budget: that has counted it.
  init?(countedBy budget: RelayPipeBudget? = nil) {
    guard let pipe = SystemCalls.openPipe(holding: Self.wantedSize, atLeast: Self.leastSize) else {
      return nil
    }
    (input, output, size) = pipe
    self.budget = budget
  }

  func close() {
    guard isOpen else { return }
    isOpen = false
    SystemCalls.closeDescriptor(input)
    SystemCalls.closeDescriptor(output)
    budget?.release()
  }

  deinit {
    close()
  }
}

/// How many pipes there may be, of all loops together: a user's pipes share what `pipe-user-pages-soft` allows, 16,384
/// pages at first, and each of these takes 64.
final class RelayPipeBudget: Sendable {
  static let ofProcess = RelayPipeBudget(most: 64)

  let most: Int
  private let open = Atomic(0)

  init(most: Int) {
    self.most = most
  }

  /// Fewer than half are there, so that what one loop keeps free is not what another lacks.
  var isAmple: Bool {
    open.load(ordering: .relaxed) <= most / 2
  }

  func acquire() -> Bool {
    guard open.wrappingAdd(1, ordering: .relaxed).newValue > most else { return true }
    release()
    return false
  }

  func release() {
    open.wrappingSubtract(1, ordering: .relaxed)
  }
}

/// The pipes of one loop's relays: a direction has one only while it holds bytes, so that idle relays hold none.
///
/// `@unchecked Sendable` because of this invariant: it is used on the loop's thread alone.
final class RelayPipes: @unchecked Sendable {
  /// How many are kept for the next relay.
  static let mostFree = 4
  /// How long none is made after one could not be.
  private static let pause = Duration.seconds(1)

  private weak var loop: LoopSockets?
  var budget = RelayPipeBudget.ofProcess
  private var free: [RelayPipe] = []
  private var pauseEnd: ContinuousClock.Instant?
  /// The system does not let this program splice.
  private var isRefused = false
  private(set) var used = 0
  /// How often one was taken.
  private(set) var uses = 0
  /// The most bytes that went through one of them at once.
  private(set) var mostMoved = 0

  init(_ loop: LoopSockets) {
    self.loop = loop
  }

  /// An empty pipe; nil where there is none to be had, and the caller copies instead.
  func take() -> RelayPipe? {
    guard !isRefused, let pipe = free.popLast() ?? make() else { return nil }
    used += 1
    uses += 1
    return pipe
  }

  /// None while a server of the loop lacks descriptors.
  private func make() -> RelayPipe? {
    guard !(loop?.hasOverloadedServers ?? false), !isPausing, budget.acquire() else { return nil }
    guard let pipe = RelayPipe(countedBy: budget) else {
      budget.release()
      pauseEnd = .now + Self.pause
      return nil
    }
    return pipe
  }

  private var isPausing: Bool {
    guard let pauseEnd else { return false }
    if .now < pauseEnd { return true }
    self.pauseEnd = nil
    return false
  }

  func noteFilled(_ pipe: RelayPipe) {
    mostMoved = max(mostMoved, pipe.count)
  }

  /// Looks whether a splice has failed because there is none: then no further one is tried.
  func isRefusal(_ errnum: CInt) -> Bool {
    guard [ENOSYS, EPERM, EACCES].contains(errnum) else { return false }
    isRefused = true
    closeFree()
    return true
  }

  /// - Parameter pipe: is closed where it holds bytes, which are discarded.
  func put(back pipe: RelayPipe) {
    used -= 1
    let isLacking = loop?.hasOverloadedServers ?? false
    if pipe.count == 0, free.count < Self.mostFree, budget.isAmple, !isLacking, !isRefused {
      free.append(pipe)
    } else {
      pipe.close()
      if isLacking { loop?.descriptorFreed() }
    }
  }

  /// Gives back what is only kept.
  ///
  /// - Returns: whether that were any descriptors.
  @discardableResult
  func closeFree() -> Bool {
    guard !free.isEmpty else { return false }
    for pipe in free { pipe.close() }
    free = []
    return true
  }
}
