// SPDX-License-Identifier: Apache-2.0

internal import CServerCore
internal import Glibc

/// A connection to a UNIX socket being made.
///
/// Never blocks: the caller calls ``advance()`` when ``deadline`` has come. The kernel does not wait for a server whose
/// queue is full and says nothing when there is room again, so it is asked again and again.
final class PathConnector {
  /// As long as Qt tries.
  static let limit: Duration = .seconds(30)
  static let longestDelay: Duration = .milliseconds(50)

  private let path: String
  private let end = ContinuousClock.now + limit
  private var descriptor: CInt = -1
  private var delay: Duration = .milliseconds(1)
  /// When it is tried next.
  private(set) var deadline = ContinuousClock.now

  init(to path: String) {
    self.path = path
  }

  deinit {
    if descriptor >= 0 { SystemCalls.closeDescriptor(descriptor) }
  }

  /// Does what can be done without waiting.
  func advance() -> TCPConnector.Progress {
    if descriptor < 0 {
      switch SystemCalls.openStream(family: AF_UNIX) {
      case .value(let opened): descriptor = CInt(opened)
      case .failed(let errnum): return .failed(Failure(CSC_CALL_SOCKET, errno: errnum))
      }
    }
    switch SystemCalls.connect(descriptor, toPath: path) {
    case nil:
      return .failed(Failure(CSC_CALL_PATH, errno: ENAMETOOLONG))
    case .value:
      return .connected(exchange(&descriptor, with: -1))
    case .failed(let errnum) where errnum == EAGAIN || errnum == EINTR:
      return tryLater()
    case .failed(let errnum):
      return .failed(Failure(CSC_CALL_CONNECT, errno: errnum))
    }
  }

  private func tryLater() -> TCPConnector.Progress {
    guard ContinuousClock.now < end else { return .failed(Failure(CSC_CALL_CONNECT, errno: ETIMEDOUT)) }
    deadline = .now + delay
    delay = min(delay * 2, Self.longestDelay)
    return .waiting
  }
}
