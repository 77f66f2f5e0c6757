// SPDX-License-Identifier: Apache-2.0

/// What a peer did that it was dropped for.
package enum DropReason: Equatable, CustomStringConvertible {
  case noHandshake
  case unknownInfoHash
  case connectedToOurselves
  case tooLongMessage(Int)
  case malformedMessage(String)
  case wrongPiece(Int)
  case noHandshakeWithin(Double)
  case nothingReceivedFor(Double)
  case noAnswerFor(Double)
  case tooManyRequests

  init(_ failure: WireMachine.Failure) {
    self =
      switch failure {
      case .noHandshake: .noHandshake
      case .tooLong(let length): .tooLongMessage(length)
      case .malformed(let kind): .malformedMessage(kind)
      }
  }

  package var description: String {
    switch self {
    case .noHandshake: "no BitTorrent handshake"
    case .unknownInfoHash: "unknown info hash"
    case .connectedToOurselves: "connected to ourselves"
    case .tooLongMessage(let length): "message of \(length) bytes"
    case .malformedMessage(let kind): "malformed \(kind) message"
    case .wrongPiece(let piece): "piece \(piece) has a wrong hash"
    case .noHandshakeWithin(let seconds): "no handshake within \(Self.text(seconds)) seconds"
    case .nothingReceivedFor(let seconds): "nothing received for \(Self.text(seconds)) seconds"
    case .noAnswerFor(let seconds): "no answer to requests for \(Self.text(seconds)) seconds"
    case .tooManyRequests: "too many requests"
    }
  }

  /// Whole numbers without a point.
  private static func text(_ seconds: Double) -> String {
    Int(exactly: seconds).map { "\($0)" } ?? "\(seconds)"
  }
}
