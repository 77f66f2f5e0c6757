// SPDX-License-Identifier: Apache-2.0

import Glibc
import Synchronization
import TCPServerKit

/// An accepted client on its way to the thread that serves it, and its fortune.
///
/// Owns the descriptor until a socket has it: what does not get to its thread is closed.
final class Client: Sendable {
  private let descriptor: Mutex<CInt>
  private let reply: [UInt8]
  /// Called once, on any thread: nil, or why the client was not served.
  private let whenEnded: @Sendable (String?) -> Void
  private let hasEnded = Atomic(false)

  /// How long the client may take until it has its fortune and the connection has ended.
  private let patience: Duration

  init(
    descriptor: CInt,
    reply: [UInt8],
    patience: Duration = .seconds(30),
    whenEnded: @escaping @Sendable (String?) -> Void
  ) {
    self.descriptor = Mutex(descriptor)
    self.patience = patience
    self.reply = reply
    self.whenEnded = whenEnded
  }

  deinit {
    end("Nobody was left to serve it")
  }

  /// Serves the client with calls that block, on a thread without a loop.
  func serve() {
    guard let socket = makeSocket(on: nil) else { return }
    guard socket.write(reply) == reply.count else {
      return end(socket.errorString)
    }
    socket.disconnectFromHost()
    end(socket.waitForDisconnected(msec: Int(patience / .milliseconds(1))) ? nil : socket.errorString)
  }

  /// Serves the client on the loop that runs on this thread.
  func serve(on loop: EventBase) {
    guard let socket = makeSocket(on: loop) else { return }
    socket.errorOccurred.connect { [unowned socket] error in
      // A client that ends its own side, too, is in order.
      if error != .remoteHostClosed { self.end(socket.errorString) }
    }
    let deadline = EventTimer(interval: patience, isSingleShot: true, eventBase: loop)
    deadline.timeout.connect { [unowned socket] in
      self.end("It stayed for too long")
      socket.abort()
    }
    socket.disconnected.connect {
      deadline.stop()
      self.end(nil)
    }
    deadline.start()
    guard socket.write(reply) == reply.count else {
      return end(socket.errorString)
    }
    socket.disconnectFromHost()
  }

  /// Reports the client's end, the first time it is called.
  func end(_ failure: String?) {
    closeDescriptor()
    if !hasEnded.exchange(true, ordering: .relaxed) {
      whenEnded(failure)
    }
  }

  /// The socket that owns the descriptor from now on; nil when it cannot, which was reported then.
  private func makeSocket(on loop: EventBase?) -> TCPSocket? {
    let socket = TCPSocket(eventBase: loop)
    let isTaken = descriptor.withLock { descriptor in
      guard socket.setSocketDescriptor(descriptor) else { return false }
      descriptor = -1
      return true
    }
    guard isTaken else {
      end(socket.errorString)
      return nil
    }
    return socket
  }

  private func closeDescriptor() {
    descriptor.withLock { descriptor in
      if descriptor >= 0 { close(descriptor) }
      descriptor = -1
    }
  }
}
