// SPDX-License-Identifier: Apache-2.0

import ServerProgram
import Synchronization
import TCPServerKit

/// Takes a file from each peer.
///
/// A peer sends the size in decimal digits, a newline, and as many bytes. The end of a connection would not do for an
/// end of the file: a proxy may turn a peer's failure into an orderly end, which looks as if the file were complete.
final class Receiver: Sendable {
  let folder: DropFolder
  /// The longest file, in bytes.
  let limit: Int
  let deadlines: Deadlines
  /// How many files have been stored.
  let stored = Atomic(0)

  init(folder: DropFolder, limit: Int, deadlines: Deadlines) {
    self.folder = folder
    self.limit = limit
    self.deadlines = deadlines
  }

  private static let longestSize = 20
  /// So many bytes have to come within the idle deadline: a bound for slow peers, too, and not only for silent ones.
  private static let piece = 65536

  /// Stores what the peer sends, and confirms it when that is on the disk.
  func receive(from socket: TCPSocket) async throws {
    guard let size = try await size(from: socket) else {
      return try await answer("A file begins with its size in bytes, in digits, and a newline.", to: socket)
    }
    guard size <= limit else {
      return try await answer("The file is too long; \(limit) bytes are the most.", to: socket)
    }
    var count = 0
    do {
      let file = try DroppedFile(in: folder)
      while count < size {
        let piece = min(size - count, Self.piece)
        guard let bytes = try await socket.read(exactly: piece, timeout: deadlines.idle) else {
          throw SocketError.remoteHostClosed
        }
        try file.append(bytes)
        count += bytes.count
      }
      // Elsewhere, because the disk may take seconds, and the loop serves others meanwhile.
      let name = try await Task.detached { try file.store() }.value
      stored.add(1, ordering: .relaxed)
      printLine("Stored \(name): \(size) bytes from \(socket.peerAddress).")
    } catch {
      // A peer that has ended its side of the connection only, or is too slow, can still be answered.
      count += socket.bytesAvailable
      printLine("Not stored: \(count) of \(size) bytes from \(socket.peerAddress). \(error)")
      return try await answer("Not stored; \(count) of \(size) bytes have come.", to: socket)
    }
    try await answer("Stored \(size) bytes.", to: socket)
  }

  /// Nil when that is no size.
  private func size(from socket: TCPSocket) async throws -> Int? {
    var line: [UInt8]
    do {
      line = try await socket.readLine(maxLength: Self.longestSize, timeout: deadlines.firstByte) ?? []
    } catch SocketError.lineTooLong {
      return nil
    }
    guard line.popLast() == UInt8(ascii: "\n") else { return nil }
    // Int would take a sign.
    guard line.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else { return nil }
    return Int(String(decoding: line, as: UTF8.self))
  }

  private func answer(_ text: String, to socket: TCPSocket) async throws {
    try await socket.write(text + "\n", timeout: deadlines.idle)
  }
}
