// SPDX-License-Identifier: Apache-2.0

import TCPServerKit

/// Where a peer may be reached.
package struct Endpoint: Hashable, Sendable, CustomStringConvertible {
  /// A name or an address.
  package var host: String
  package var port: UInt16

  package init(host: String, port: UInt16) {
    self.host = host
    self.port = port
  }

  package init(_ address: HostAddress, port: UInt16) {
    self.init(host: "\(address)", port: port)
  }

  /// Reads `HOST:PORT`, with an IPv6 address in brackets.
  package init?(_ text: String) {
    guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port > 0
    else {
      return nil
    }
    var host = String(text[..<colon])
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = String(host.dropFirst().dropLast())
      guard host.contains(":") else { return nil }
    } else if host.contains(":") {
      return nil
    }
    guard !host.isEmpty else { return nil }
    self.init(host: host, port: port)
  }

  package var description: String {
    host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
  }
}

/// What a tracker answers.
package struct TrackerReply: Equatable, Sendable {
  /// The longest reply that is read.
  package static let mostBytes = 1 << 20
  private static let mostPeers = 500

  package var interval: Duration
  package var peers: [Endpoint]
  /// To be sent back with the next announcement.
  package var trackerID: [UInt8]?

  package init(_ bytes: [UInt8]) throws(TrackerError) {
    let reply: BencodeDictionary
    do throws(BencodeError) {
      guard let dictionary = try BencodeParser.parse(bytes).dictionary else {
        throw BencodeError(description: "there is no dictionary")
      }
      reply = dictionary
    } catch {
      throw TrackerError("the reply is \(error.description)")
    }
    if let reason = reply["failure reason"]?.bytes {
      throw TrackerError(printable(String(decoding: reason.prefix(500), as: UTF8.self)))
    }
    interval = .seconds(min(max(reply["interval"]?.integer ?? 1800, 1), 86400))
    trackerID = reply["tracker id"]?.bytes.flatMap { $0.count <= 500 ? $0 : nil }
    peers = []
    switch reply["peers"] {
    case .bytes(let records): appendRecords(records, addressLength: 4)
    case .list(let list): appendDictionaries(list)
    default: break
    }
    if let records = reply["peers6"]?.bytes {
      appendRecords(records, addressLength: 16)
    }
  }

  /// The short form: an address and a port, again and again. What is left over at the end counts for nothing.
  private mutating func appendRecords(_ records: [UInt8], addressLength: Int) {
    let length = addressLength + 2
    for start in stride(from: 0, to: records.count - records.count % length, by: length) {
      guard let address = HostAddress(bytes: records[start..<start + addressLength]) else { continue }
      let port = UInt16(records[start + addressLength]) << 8 | UInt16(records[start + addressLength + 1])
      append(host: "\(address)", port: Int(port))
    }
  }

  private mutating func appendDictionaries(_ list: [Bencode]) {
    for entry in list {
      guard let peer = entry.dictionary, let host = peer["ip"]?.bytes, let port = peer["port"]?.integer,
        host.count <= 255, !host.contains(0)
      else { continue }
      append(host: String(decoding: host, as: UTF8.self), port: port)
    }
  }

  private mutating func append(host: String, port: Int) {
    guard peers.count < Self.mostPeers, let port = UInt16(exactly: port), port > 0, !host.isEmpty else {
      return
    }
    peers.append(Endpoint(host: host, port: port))
  }
}

package struct TrackerError: Error, Equatable, CustomStringConvertible {
  package let description: String

  package init(_ description: String) {
    self.description = description
  }
}
