// SPDX-License-Identifier: Apache-2.0

internal import Glibc
internal import TCPServerKit

/// Threads that make the handshakes of servers, so that a loop goes on with its connections meanwhile.
///
/// A handshake costs a signature, with RSA of 2,048 bits about half a millisecond, and a loop that makes it serves no
/// other connection then. With threads of its own for that a loop only passes the handshakes on:
///
/// ```swift
/// server.handshakeThreads = SSLHandshakeThreads(count: 2)
/// ```
///
/// One object may be for any number of servers, on any number of loops: handshakes are made in the order in which they
/// can go on. The threads are started with the first handshake, and end when the last reference to this has gone, after
/// what they were given by then.
///
/// A handshake on a thread counts, fails and ends as one on the loop does, and signals are emitted on the loop. One
/// that is ended meanwhile, by its deadline or by the program, has its connection closed at once.
public final class SSLHandshakeThreads: Sendable {
  /// How many threads there are.
  public let count: Int
  private let queue = WorkerQueue()
  private let started = Locked(0)

  /// Makes the object; threads are started when they are needed.
  ///
  /// - Parameter count: how many; less than 1 counts as 1. More than the processors that the loops leave idle bring
  ///   nothing.
  public init(count: Int = 1) {
    self.count = max(count, 1)
  }

  deinit {
    queue.end()
  }

  /// - Returns: false, and nothing is done, where the system has no room for a thread.
  func add(_ work: @escaping @Sendable () -> Void) -> Bool {
    guard startThreads() else { return false }
    queue.add(work)
    return true
  }

  /// - Returns: whether there is one at least. Those that are missing are tried again with the next handshake.
  private func startThreads() -> Bool {
    started.withLock { started in
      while started < count, let thread = startThread() {
        thread.detach()
        started += 1
      }
      return started > 0
    }
  }

  private func startThread() -> SystemThread? {
    SystemThread.start { [queue] in queue.work() }
  }
}
