// SPDX-License-Identifier: Apache-2.0

import Foundation
import ProgramTesting
import Synchronization

/// A peer that listens, has everything and gives what it is asked for, and remembers what that was.
final class ScriptedSeeder: Sendable {
  private struct State {
    var requested: [Int: Int] = [:]
    var isStopped = false
  }

  let port: UInt16
  private let state: Shared

  /// What its threads need of it.
  private final class Shared: Sendable {
    let value = Mutex(State())
  }

  /// - Parameter most: how many bytes it gives; what goes beyond them is not answered.
  init(of content: Content, giving most: Int = .max) throws {
    guard let listener = Listener() else { throw UnexpectedOutput(line: "no port") }
    port = listener.port
    let state = Shared()
    self.state = state
    let file = File(content)
    Thread.detachNewThread {
      while !state.value.withLock({ $0.isStopped }) {
        guard let connection = listener.accept(within: .milliseconds(100)) else { continue }
        Self.serve(Wire(connection), file, state, most)
      }
    }
  }

  deinit {
    state.value.withLock { $0.isStopped = true }
  }

  /// The option that names it to the program.
  var option: [String] { ["--peer", "127.0.0.1:\(port)"] }

  /// The pieces that were requested.
  var requestedPieces: Set<Int> {
    state.value.withLock { Set($0.requested.keys) }
  }

  /// How many bytes they asked for.
  var requestedBytes: Int {
    state.value.withLock { $0.requested.values.reduce(0, +) }
  }

  private struct File: Sendable {
    var bytes: Data
    var pieceLength: Int
    var pieceCount: Int
    var infoHash: [UInt8]

    init(_ content: Content) {
      bytes = content.bytes
      pieceLength = content.pieceLength
      pieceCount = content.pieceCount
      infoHash = content.infoHash
    }
  }

  /// One peer at a time: there is no more than one in these tests.
  private static func serve(_ wire: Wire, _ file: File, _ state: Shared, _ most: Int) {
    wire.sendHandshake(file.infoHash)
    guard wire.receiveHandshake(file.infoHash) != nil else { return }
    wire.offerEverything(pieceCount: file.pieceCount)
    var left = most
    while let message = wire.receive(), !state.value.withLock({ $0.isStopped }) {
      guard let request = message.request else { continue }
      state.value.withLock { $0.requested[request.piece, default: 0] += request.length }
      guard request.length <= left else { continue }
      left -= request.length
      let first = request.piece * file.pieceLength + request.begin
      guard first + request.length <= file.bytes.count else { return }
      wire.sendPiece(request, file.bytes[first..<first + request.length])
    }
  }
}

/// A part of a piece.
struct Block {
  var piece: Int
  var begin: Int
  var length: Int
}

extension Wire.Message {
  /// What it asks for, if it is a request.
  var request: Block? {
    guard kind == Wire.Kind.request.rawValue, payload.count == 12 else { return nil }
    let numbers = [0, 4, 8].map { payload[$0..<$0 + 4].reduce(0) { $0 << 8 | Int($1) } }
    return Block(piece: numbers[0], begin: numbers[1], length: numbers[2])
  }
}
