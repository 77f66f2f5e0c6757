// SPDX-License-Identifier: Apache-2.0

/// What is sent to a tracker.
package struct TrackerRequest: Sendable {
  package enum Event: String, Sendable {
    case started
    case completed
    case stopped
  }

  package var infoHash: SHA1Hash
  package var peerID: [UInt8]
  package var port: UInt16
  package var uploaded = 0
  package var downloaded = 0
  package var left: Int
  package var event: Event?
  package var trackerID: [UInt8]?

  package init(infoHash: SHA1Hash, peerID: [UInt8], port: UInt16, left: Int) {
    self.infoHash = infoHash
    self.peerID = peerID
    self.port = port
    self.left = left
  }

  /// The address that is asked; nil where a tracker is not one that is asked by HTTP.
  package func address(of tracker: String) -> String? {
    let scheme = tracker.prefix(8).lowercased()
    guard scheme.hasPrefix("http://") || scheme.hasPrefix("https://"), !tracker.contains("#") else {
      return nil
    }
    var items = [
      "info_hash=\(Self.escaped(infoHash.bytes))", "peer_id=\(Self.escaped(peerID))", "port=\(port)",
      "uploaded=\(uploaded)", "downloaded=\(downloaded)", "left=\(left)", "compact=1", "numwant=50",
    ]
    if let event { items.append("event=\(event)") }
    if let trackerID { items.append("trackerid=\(Self.escaped(trackerID))") }
    return tracker + (tracker.contains("?") ? "&" : "?") + items.joined(separator: "&")
  }

  private static func escaped(_ bytes: [UInt8]) -> String {
    bytes.map { byte in
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"):
        String(UnicodeScalar(byte))
      default:
        "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
      }
    }.joined()
  }
}
