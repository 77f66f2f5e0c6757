// SPDX-License-Identifier: Apache-2.0

internal import CServerCore
internal import Glibc

/// Why a process could not hand its listening sockets over to another, or take them over. It goes on as before.
public struct HandoverError: Error, Hashable, Sendable, CustomStringConvertible {
  let errnum: CInt

  init(errnum: CInt) {
    self.errnum = errnum
  }

  /// The error for a person to read, in English.
  public var description: String {
    switch errnum {
    case EPERM: "The other process is another user's"
    case EPROTO: "The other process does not keep to the protocol"
    case ETIMEDOUT: "The other process has not answered in time"
    case ECONNRESET, EPIPE: "The other process has ended, or has given this one up"
    case EADDRINUSE: "There is something else at the path"
    case EINVAL: "The sockets or values, or their names, are too long or too many"
    default: SystemCalls.Failure(errnum: errnum).text
    }
  }

  /// Runs what blocks on a thread of its own.
  ///
  /// - Parameter call: returns an errno, or 0.
  static func wait(for call: @escaping @Sendable () -> CInt) async throws(HandoverError) {
    let errnum = await withCheckedContinuation { continuation in
      let thread = SystemThread.start { continuation.resume(returning: call()) }
      if let thread { thread.detach() } else { continuation.resume(returning: EAGAIN) }
    }
    if errnum != 0 { throw HandoverError(errnum: errnum) }
  }
}

/// A connection between a process and its successor, or what waits for one.
final class ControlSocket: Sendable {
  let descriptor: CInt

  init(_ descriptor: CInt) {
    self.descriptor = descriptor
  }

  deinit {
    SystemCalls.closeDescriptor(descriptor)
  }

  /// Makes a call that blocks on it return.
  private func interrupt() {
    shutdown(descriptor, CInt(SHUT_RDWR))
  }

  /// Runs a call that blocks on it, on a thread of its own. When the task is cancelled it returns, and nothing can be
  /// received or sent any more.
  func wait(for call: @escaping @Sendable () -> CInt) async throws {
    try await withTaskCancellationHandler {
      try await HandoverError.wait(for: call)
    } onCancel: {
      interrupt()
    }
  }

  /// The number of the process at the other end; nil where the kernel does not say.
  var peerProcess: CInt? {
    // struct ucred: the process, the user and the group.
    var credentials: [CInt] = [0, 0, 0]
    var length = socklen_t(credentials.count * MemoryLayout<CInt>.size)
    let isKnown = unsafe getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0
    return isKnown && credentials[0] > 0 ? credentials[0] : nil
  }
}
