// SPDX-License-Identifier: Apache-2.0

internal import CServerTLS
internal import TCPServerKit

/// A step of a handshake on another thread: the transport is lent to that, and comes back through the loop's inbox. A
/// handshake that has ended meanwhile is freed by whichever has it last.
///
/// `@unchecked Sendable` because of this invariant: the thread calls ``step()`` and nothing else, and the loop calls
/// ``end()`` after that.
@safe final class HandshakeLoan: @unchecked Sendable {
  private let transport: SSLTransport
  private weak var handshake: Handshake?
  private var result = CSC_TLS_FAILED

  init(_ transport: SSLTransport, _ handshake: Handshake?) {
    self.transport = transport
    self.handshake = handshake
  }

  func step() {
    result = transport.stepOnThread()
  }

  func end() {
    transport.takeBack(result)
    guard let handshake, !handshake.isOver else { return }
    handshake.socket.continueHandshake()
  }

  /// Has the steps of a handshake made by threads from now on.
  static func lend(_ handshake: Handshake, to threads: SSLHandshakeThreads, from inbox: LoopInbox) {
    handshake.transport.lend = { [unowned transport = handshake.transport, weak handshake] in
      let loan = HandshakeLoan(transport, handshake)
      return threads.add {
        loan.step()
        inbox.post { loan.end() }
      }
    }
  }
}
