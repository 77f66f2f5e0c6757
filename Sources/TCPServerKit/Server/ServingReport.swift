// SPDX-License-Identifier: Apache-2.0

/// What became of the connections of a server that has ended.
public struct ServingReport: Hashable, Sendable {
  /// Connections whose handler ran.
  public var served: UInt64 = 0
  /// Handlers that threw an error other than by being cancelled.
  public var failed: UInt64 = 0
  /// Handlers still running when a graceful shutdown began that ended before its deadline.
  public var endedInTime: UInt64 = 0
  /// Handlers that were cancelled, by the deadline of a graceful shutdown or with the serving task.
  public var cancelled: UInt64 = 0
  /// The peers of the first 100 connections that ``cancelled`` counts, in the order in which they ended; of several
  /// loops, one loop's after the other's.
  public var cancelledPeers: [Peer] = []
  /// Connections accepted during the delay of a graceful shutdown, from its announcement until it began, as
  /// ``TCPServer/Statistics-swift.struct/accepted`` counts them.
  public var acceptedWhileAnnounced: UInt64 = 0
  /// Connections that ended before their peer had acknowledged everything that was written: cut by a deadline, reset by
  /// the peer or after a write that had failed part-way, or given up after ``TCPServer/deliveryTimeout``.
  public var undelivered: UInt64 = 0

  /// Makes a report of no connection, for a program that serves in ways of its own.
  public init() {}

  /// The other end of a connection.
  public struct Peer: Hashable, Sendable, CustomStringConvertible {
    /// Its address; ``HostAddress/null`` for a UNIX socket.
    public var address: HostAddress
    /// Its port.
    public var port: UInt16

    /// `192.0.2.1:40123`, or `[2001:db8::1]:40123`.
    public var description: String {
      if address.isNull { return "a peer without an address" }
      return address.isIPv6 ? "[\(address)]:\(port)" : "\(address):\(port)"
    }
  }

  private static let mostPeers = 100

  mutating func addCancelled(_ socket: TCPSocket) {
    cancelled += 1
    guard cancelledPeers.count < Self.mostPeers else { return }
    cancelledPeers.append(Peer(address: socket.peerAddress, port: socket.peerPort))
  }

  mutating func add(_ other: ServingReport) {
    served += other.served
    failed += other.failed
    endedInTime += other.endedInTime
    cancelled += other.cancelled
    cancelledPeers += other.cancelledPeers.prefix(Self.mostPeers - cancelledPeers.count)
    acceptedWhileAnnounced += other.acceptedWhileAnnounced
    undelivered += other.undelivered
  }
}

/// Counts what a server accepts from the announcement of a shutdown until it begins, by the server's own counter.
struct AcceptedWhileAnnounced {
  private var before: UInt64?
  private(set) var count: UInt64 = 0

  /// When something has come of the shutdown.
  ///
  /// - Parameter accepted: how many connections the server has accepted until now.
  mutating func follow(_ shutdown: GracefulShutdown, accepted: UInt64) {
    if shutdown.hasBegun {
      end(accepted: accepted)
    } else {
      before = before ?? accepted
    }
  }

  mutating func end(accepted: UInt64) {
    guard let before = exchange(&before, with: nil) else { return }
    count = accepted - before
  }
}
