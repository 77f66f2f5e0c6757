// SPDX-License-Identifier: Apache-2.0

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

  /// What a pipe is to hold. The kernel makes those of a user with many pipes smaller; below `leastSize` they are of no
  /// use.
  static let wantedSize = 1 << 18
  static let leastSize = 1 << 16

  init?() {
    guard let pipe = SystemCalls.openPipe(holding: Self.wantedSize, atLeast: Self.leastSize) else {
      return nil
    }
    (input, output, size) = pipe
  }

  deinit {
    SystemCalls.closeDescriptor(input)
    SystemCalls.closeDescriptor(output)
  }
}

/// The pipes of one loop's relays: a direction has one only while it holds bytes, so that idle relays hold none.
///
/// `@unchecked Sendable` because of this invariant: it is used on the loop's thread alone.
final class RelayPipes: @unchecked Sendable {
  /// How many pipes the relays of one loop use at once. With 256 KiB in each that is 16 MiB that slow peers can hold.
  static let most = 64
  /// How many are kept for the next relay.
  private static let mostFree = 16

  private var free: [RelayPipe] = []
  private(set) var used = 0
  /// How often one was taken.
  private(set) var uses = 0
  /// The most bytes that went through one of them at once.
  private(set) var mostMoved = 0

  /// An empty pipe; nil where there is none to be had, and the caller copies instead.
  func take() -> RelayPipe? {
    guard used < Self.most, let pipe = free.popLast() ?? RelayPipe() else { return nil }
    used += 1
    uses += 1
    return pipe
  }

  func noteFilled(_ pipe: RelayPipe) {
    mostMoved = max(mostMoved, pipe.count)
  }

  /// - Parameter pipe: is closed where it holds bytes, which no relay passes on.
  func put(back pipe: RelayPipe) {
    used -= 1
    if pipe.count == 0, free.count < Self.mostFree { free.append(pipe) }
  }
}
