// SPDX-License-Identifier: Apache-2.0

internal import Glibc

extension SystemCalls {
  /// What a connection has carried.
  struct Traffic {
    let bytesReceived: UInt64
    let bytesAcknowledged: UInt64
    /// How long ago the last bytes were sent, or the connection was made.
    let sinceSent: Duration
    let sinceReceived: Duration
    /// Also of bytes that it had acknowledged before.
    let sinceAcknowledged: Duration
    /// The kernel holds nothing that was sent.
    let isAllAcknowledged: Bool
    /// The peer has ended its side; that is one of the bytes received.
    let hasEndOfPeer: Bool
    /// This side has ended, which the peer has not acknowledged yet.
    let hasEndOnItsWay: Bool
    /// The peer has acknowledged this side's end; that is one of the bytes acknowledged.
    let hasEndDelivered: Bool
  }

  /// Nil where the kernel does not count.
  static func traffic(_ descriptor: CInt) -> Traffic? {
    // struct tcp_info of <linux/tcp.h>: tcpi_last_data_sent, tcpi_last_data_recv, tcpi_last_ack_recv, tcpi_bytes_acked
    // and tcpi_bytes_received; tcpi_unacked, in packets, and tcpi_notsent_bytes.
    let (sent, received, acknowledged, bytesAcknowledged, bytes) = (44, 52, 56, 120, 128)
    let (packetsOnTheWay, unsent) = (24, 144)
    var info = [UInt8](repeating: 0, count: 192)
    var length = socklen_t(info.count)
    guard unsafe getsockopt(descriptor, CInt(IPPROTO_TCP), TCP_INFO, &info, &length) == 0,
      Int(length) >= bytes + MemoryLayout<UInt64>.size
    else { return nil }
    // It begins with tcpi_state.
    let state = CInt(info[0])
    let countsUnsent = Int(length) >= unsent + MemoryLayout<UInt32>.size
    return unsafe info.withUnsafeBytes { info in
      unsafe Traffic(
        bytesReceived: info.loadUnaligned(fromByteOffset: bytes, as: UInt64.self),
        bytesAcknowledged: info.loadUnaligned(fromByteOffset: bytesAcknowledged, as: UInt64.self),
        sinceSent: .milliseconds(info.loadUnaligned(fromByteOffset: sent, as: UInt32.self)),
        sinceReceived: .milliseconds(info.loadUnaligned(fromByteOffset: received, as: UInt32.self)),
        sinceAcknowledged: .milliseconds(info.loadUnaligned(fromByteOffset: acknowledged, as: UInt32.self)),
        isAllAcknowledged: countsUnsent
          && info.loadUnaligned(fromByteOffset: packetsOnTheWay, as: UInt32.self) == 0
          && info.loadUnaligned(fromByteOffset: unsent, as: UInt32.self) == 0,
        hasEndOfPeer: [TCP_CLOSE_WAIT, TCP_LAST_ACK, TCP_CLOSING, TCP_TIME_WAIT].contains {
          CInt($0) == state
        },
        hasEndOnItsWay: [TCP_FIN_WAIT1, TCP_LAST_ACK, TCP_CLOSING].contains { CInt($0) == state },
        hasEndDelivered: [TCP_FIN_WAIT2, TCP_TIME_WAIT].contains { CInt($0) == state }
      )
    }
  }
}
