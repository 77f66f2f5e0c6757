// SPDX-License-Identifier: Apache-2.0

import Glibc
import NIOCore
import NIOPosix

/// Makes a listening socket with SwiftNIO, which looks up names and has its own options, for a server that is not NIO's.
///
/// NIO does not give a channel's socket away, so this is a duplicate, and the channel is closed.
///
/// - Returns: the descriptor, which the caller owns.
func listenWithNIO(name: String, port: UInt16, on group: any EventLoopGroup) throws -> CInt {
  let channel = try ServerBootstrap(group: group)
    .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
    .serverChannelOption(.backlog, value: .max)
    // Or it would accept clients until it is closed.
    .serverChannelOption(.autoRead, value: false)
    .bind(host: name, port: Int(port))
    .wait()
  let duplicate = Result { try duplicateSocket(of: channel) }
  do {
    try channel.close().wait()
  } catch {
    if case .success(let descriptor) = duplicate { close(descriptor) }
    throw error
  }
  return try duplicate.get()
}

private func duplicateSocket(of channel: any Channel) throws -> CInt {
  let duplicate = try channel.eventLoop.submit {
    try channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) {
      let descriptor = fcntl($0, F_DUPFD_CLOEXEC, 0)
      guard descriptor >= 0 else {
        throw IOError(errnoCode: errno, reason: "duplicating the listening socket")
      }
      return descriptor
    }
  }.wait()
  guard let duplicate else { throw ChannelError.operationUnsupported }
  return duplicate
}
