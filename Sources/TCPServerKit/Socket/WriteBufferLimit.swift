// SPDX-License-Identifier: Apache-2.0

/// How much a socket may hold for a slow peer of writes that do not wait.
public struct WriteBufferLimit: Hashable, Sendable {
  /// What becomes of a write, and of its peer, when the socket holds as much as it may.
  public enum Policy: Hashable, Sendable {
    /// The write fails and the connection is reset: what the peer has received has no hole.
    case reset
    /// The write fails, with -1 and ``SocketError/socketResource``, and nothing else happens.
    case fail
  }

  /// From how many held bytes on a further write fails.
  public var bytes: Int

  /// What else happens then.
  public var policy: Policy

  /// Makes a limit.
  ///
  /// - Parameters:
  ///   - bytes: 64 MiB at first; `Int.max` sets no limit, 0 and less takes nothing while anything is held.
  ///   - policy: ``Policy/reset`` at first.
  public init(bytes: Int = 64 << 20, policy: Policy = .reset) {
    self.bytes = bytes
    self.policy = policy
  }
}

extension Failure {
  static let writeBufferFull = Failure(.socketResource, "The peer is too slow: the write buffer is full")
}
