// SPDX-License-Identifier: Apache-2.0

/// How long the connections of a server may be held by peers that do not use them: deadlines for strangers.
///
/// ```swift
/// server.connectionPolicy = ConnectionPolicy(firstByte: .seconds(10), idle: .seconds(60), minimumRate: 240)
/// ```
///
/// Each limit is off where it is nil, which all are at first. A connection that is past one ends by the server, whatever
/// its handler, task, sequence or relay is at: reads and writes throw, and ``TCPSocket/errorOccurred`` gives, the error of
/// that limit, and ``TCPServer/Statistics-swift.struct`` counts it by that reason. What was not read by then is lost.
///
/// | Limit | Error | Ends |
/// | --- | --- | --- |
/// | ``firstByte`` | ``SocketError/firstByteTimeout`` | in order |
/// | ``idle`` | ``SocketError/idleTimeout`` | in order |
/// | ``minimumRate`` | ``SocketError/tooSlow`` | by a reset |
/// | ``maximumAge`` and ``grace`` | ``SocketError/ageLimit`` | by a reset |
///
/// "In order" is where the peer has got all that was written and the program waits for the peer; otherwise the connection
/// is reset, too: half an answer must not look like a whole one. A connection that is being closed already, and whose peer
/// has got everything, ends in order whatever the limit.
///
/// ## Time
///
/// All is counted from when a connection is delivered to the program, on its loop. No limit ends a connection early. It
/// may be late by a second, where the shortest limit is below six seconds by an eighth of that and a quarter of a second,
/// and by what the loop is late. There is no timer for a connection: the loop looks about once a second at those that are
/// due, and sleeps as long as none is.
///
/// What has moved is asked of the kernel. It does not count for UNIX sockets, where only ``maximumAge`` holds.
public struct ConnectionPolicy: Hashable, Sendable {
  /// How long a peer may take for its first byte; a PROXY header is none. Not in effect where ``idle`` is shorter.
  public var firstByte: Duration?

  /// How long nothing may move: no byte that arrives from the peer, and none that was sent and the peer has taken.
  ///
  /// It does not matter which side is at fault, so that it has to be longer than a handler works on an answer. A peer that
  /// takes nothing of what was written, but whose kernel still answers, has up to twice as long; ``minimumRate`` is the
  /// limit for those.
  public var idle: Duration?

  /// The age at which a connection is to end: its handler learns of it and has ``grace`` left.
  ///
  /// It ends as when the server shuts down: one whose handler is between two messages ends at once, which is to its
  /// handler the end of input, and ``TCPSocket/waitForMessage(timeout:)`` returns false from then on.
  /// ``TCPSocket/isPastMaximumAge`` is true, and ``TCPSocket/maximumAgeReached`` is emitted.
  public var maximumAge: Duration?

  /// By which part of ``maximumAge`` at most a connection is to end earlier, at random, so that connections that began
  /// together do not end together; 0.1 at first. Less than 0, or no number, counts as 0, and more than 1 as 1.
  public var ageJitter: Double

  /// How long a connection may go on past ``maximumAge``, at most, before it is reset; 30 seconds at first.
  public var grace: Duration

  /// How many bytes a second a peer has to send and take, both together, while it has something to send or to take. It is
  /// measured over ``rateWindow``, and less than 1 counts as 1.
  ///
  /// A peer has something to take while bytes that were written wait for it: it ends where some of those that waited at
  /// the beginning of a window wait at its end, and fewer have moved than the rate asks for.
  ///
  /// It has something to send while its message is not complete. Where the handler calls
  /// ``TCPSocket/waitForMessage(timeout:)`` that is from a message's first byte until the next call or the answer, as long
  /// as the handler reads. For others it is a guess: bytes of the peer have come since anything was last sent to it, some
  /// of them within the second half of the window, and a task reads or a handler of ``TCPSocket/readyRead`` is connected.
  /// A peer that sends little, now and then, and is never answered looks the same: such a protocol cannot have this limit.
  ///
  /// A peer that has got everything of a connection that is being closed has only its end to send: as long as other bytes
  /// come it is measured, and when none do there is ``TCPServer/deliveryTimeout``.
  public var minimumRate: Int?

  /// How long ``minimumRate`` is measured; 10 seconds at first. A window begins when the loop finds that the peer has
  /// something to send or to take. It looks once a window, where nothing has moved in one after two, so that a slow peer
  /// ends within two windows, and one whose connection rested before within three. From a second to an hour, and no
  /// longer than ``idle``; what is outside counts as these.
  public var rateWindow: Duration

  /// Makes a policy. Limits of time are from a quarter of a second to a year, what is outside counts as these; ``grace``
  /// may be zero.
  ///
  /// - Parameters:
  ///   - firstByte: how long a peer may take for its first byte.
  ///   - idle: how long nothing may move.
  ///   - maximumAge: the age at which a connection is to end.
  ///   - ageJitter: by which part of that at most it is to end earlier.
  ///   - grace: how long it may go on after that.
  ///   - minimumRate: how many bytes a second have to move.
  ///   - rateWindow: how long that is measured.
  public init(
    firstByte: Duration? = nil,
    idle: Duration? = nil,
    maximumAge: Duration? = nil,
    ageJitter: Double = 0.1,
    grace: Duration = .seconds(30),
    minimumRate: Int? = nil,
    rateWindow: Duration = .seconds(10)
  ) {
    self.firstByte = firstByte
    self.idle = idle
    self.maximumAge = maximumAge
    self.ageJitter = ageJitter
    self.grace = grace
    self.minimumRate = minimumRate
    self.rateWindow = rateWindow
  }
}
