// SPDX-License-Identifier: Apache-2.0

import CServerCore
import ProxyHeaderVectors
import Testing

@testable import TCPServerKit

/// A row of the table that the C tests have, too.
private struct Vector: Sendable, CustomTestStringConvertible {
  let testDescription: String
  let bytes: [UInt8]
  let error: UInt8
  let errorOffset: Int
  /// What the header says; without its protocol, which Swift does not report.
  let text: String

  var isGood: Bool { error == 0 }

  static let all: [Vector] = unsafe sequence(first: 0) { $0 + 1 }
    .lazy.map { unsafe proxy_vector_at($0) }
    .prefix { unsafe $0 != nil }
    .compactMap { unsafe $0.map { unsafe Vector($0.pointee) } }
  static let good = all.filter(\.isGood)
  static let wrong = all.filter { !$0.isGood }

  static func named(_ name: String) throws -> Vector {
    try #require(all.first { $0.testDescription == name })
  }

  private init(_ row: proxy_vector) {
    unsafe testDescription = String(cString: row.name)
    bytes = unsafe row.bytes.withMemoryRebound(to: UInt8.self, capacity: row.count) { start in
      unsafe Array(UnsafeBufferPointer(start: start, count: row.count))
    }
    unsafe error = UInt8(row.error.rawValue)
    unsafe errorOffset = Int(row.error_offset)
    var words = unsafe String(cString: row.text).split(separator: " ")
    if words.count > 2 { words.remove(at: 2) }
    text = words.joined(separator: " ")
  }
}

private func shown(_ bytes: [UInt8]?) -> String {
  bytes.map { String(decoding: $0, as: UTF8.self) } ?? "-"
}

/// In the words of the vectors.
private func text(of header: ProxyHeader) -> String {
  func address(_ host: HostAddress, _ port: UInt16) -> String {
    host.isNull ? "-" : "\(host):\(port)"
  }
  var words = [
    "\(header.version.rawValue)", header.isLocal ? "LOCAL" : "PROXY",
    address(header.sourceAddress, header.sourcePort),
    address(header.destinationAddress, header.destinationPort),
  ]
  if header.hasChecksum { words.append("checksum") }
  if let alpn = header.alpn { words.append("alpn=\(shown(alpn))") }
  if let authority = header.authority { words.append("authority=\(shown(authority))") }
  if let id = header.uniqueID {
    words.append("id=" + id.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined())
  }
  if let tls = header.tls {
    let flags = (tls.isTLS ? "t" : "") + (tls.hasCertificate ? "c" : "") + (tls.isVerified ? "v" : "")
    words.append("tls=\(shown(tls.version))/\(shown(tls.cipher))/\(shown(tls.commonName))/\(flags)")
  }
  if let endpoint = header.awsVPCEndpoint { words.append("vpce=\(endpoint)") }
  if let link = header.azureLinkID { words.append("link=\(link)") }
  if let connection = header.gcpConnectionID { words.append("connection=\(connection)") }
  if !header.tlvs.isEmpty { words.append("others=\(header.tlvs.count)") }
  return words.joined(separator: " ")
}

private let payload = Array("GET / HTTP/1.1\r\n\r\n".utf8)

@Suite("PROXY headers")
struct ProxyHeaderTests {
  // MARK: - Reading

  @Test("A header says what it says", arguments: Vector.good)
  private func goodHeader(_ vector: Vector) throws {
    guard case .whole(let header, let length) = try ProxyHeader.parse(vector.bytes + payload) else {
      Issue.record("more bytes are wanted")
      return
    }
    #expect(length == vector.bytes.count)
    #expect(text(of: header) == vector.text)
  }

  @Test("A wrong header has its error and the byte that is wrong", arguments: Vector.wrong)
  private func wrongHeader(_ vector: Vector) {
    let error = #expect(throws: ProxyHeader.FormatError.self) { try ProxyHeader.parse(vector.bytes) }
    #expect(error?.code == vector.error)
    #expect(error?.offset == vector.errorOffset)
  }

  @Test("A header that is cut at any byte is partial, and reading what is missing reads no payload")
  func partialHeaders() throws {
    for vector in Vector.good {
      for count in 0..<vector.bytes.count {
        guard case .partial(let minimum) = try ProxyHeader.parse(vector.bytes.prefix(count)) else {
          Issue.record("\(vector.testDescription): whole after \(count) bytes")
          return
        }
        #expect(minimum > count && minimum <= vector.bytes.count)
      }
    }
  }

  @Test("A wrong header that is cut is partial, or wrong in the same way")
  func partialWrongHeaders() {
    for vector in Vector.wrong {
      for count in 0..<vector.bytes.count {
        do throws(ProxyHeader.FormatError) {
          let parsed = try ProxyHeader.parse(vector.bytes.prefix(count))
          if case .whole = parsed { Issue.record("\(vector.testDescription): whole after \(count) bytes") }
        } catch {
          #expect(error.code == vector.error && error.offset == vector.errorOffset)
        }
      }
    }
  }

  @Test("Bytes that are not in one piece in memory are read, too")
  func scatteredBytes() throws {
    let vector = try Vector.named("v2 checksum after others")
    let scattered = vector.bytes.reversed().lazy.map(\.self).reversed()
    #expect(try ProxyHeader.parse(scattered) == ProxyHeader.parse(vector.bytes))
    #expect(try ProxyHeader.parse(EmptyCollection()) == .partial(minimumLength: 15))
  }

  @Test("The maximum is that of version 2, and 4,096 bytes at first")
  func maximumLength() throws {
    var header = ProxyHeader()
    header.tlvs = [.init(type: 0xf0, value: [UInt8](repeating: 0, count: 4096 - 16 - 3))]
    let longest = try header.encoded()
    #expect(try ProxyHeader.parse(longest) == .whole(header, length: 4096))
    #expect(throws: ProxyHeader.FormatError.self) { try ProxyHeader.parse(longest, maximumLength: 4095) }
    header.tlvs[0].value.append(0)
    let longer = try header.encoded()
    #expect(throws: ProxyHeader.FormatError.self) { try ProxyHeader.parse(longer) }
    #expect(try ProxyHeader.parse(longer, maximumLength: .max) == .whole(header, length: 4097))
    let line = Array("PROXY UNKNOWN\r\n".utf8)
    for maximum in [Int.min, -1, 0, 15] {
      let error = #expect(throws: ProxyHeader.FormatError.self) {
        try ProxyHeader.parse(longest, maximumLength: maximum)
      }
      #expect(error?.description == "The PROXY header is too long")
      #expect(throws: Never.self) { try ProxyHeader.parse(line, maximumLength: maximum) }
    }
  }

  @Test("An error says what is wrong, for a person")
  func errorText() {
    let error = #expect(throws: ProxyHeader.FormatError.self) { try ProxyHeader.parse(payload) }
    #expect(error.map { "\($0)" } == "There is no PROXY header")
    #expect(error?.offset == 0)
  }

  // MARK: - Writing

  @Test("A header that was read is written and read again", arguments: Vector.good)
  private func roundTrip(_ vector: Vector) throws {
    guard case .whole(let header, _) = try ProxyHeader.parse(vector.bytes) else { return }
    let bytes = try header.encoded()
    #expect(try ProxyHeader.parse(bytes) == .whole(header, length: bytes.count))
  }

  @Test("A client's header has its bytes, in each version")
  func clientHeader() throws {
    var header = ProxyHeader(
      sourceAddress: try #require(HostAddress("192.0.2.1")),
      sourcePort: 56324,
      destinationAddress: try #require(HostAddress("198.51.100.2")),
      destinationPort: 443
    )
    #expect(header.version == .v2)
    #expect(try header.encoded() == Vector.named("v2 IPv4").bytes)
    header.tlvs = [.init(type: 1, value: Array("h2".utf8)), .init(type: 2, value: Array("example.org".utf8))]
    header.hasChecksum = true
    #expect(try header.encoded() == Vector.named("v2 checksum after others").bytes)
    header.version = .v1
    header.tlvs = []
    header.hasChecksum = false
    #expect(try header.encoded() == Vector.named("v1 IPv4").bytes)
  }

  @Test("A header of the proxy's own connection has no addresses")
  func localHeader() throws {
    #expect(try ProxyHeader.local.encoded() == Vector.named("v2 LOCAL").bytes)
    #expect(try ProxyHeader().encoded() == Vector.named("v2 unspecified").bytes)
    var header = ProxyHeader.local
    header.version = .v1
    #expect(try header.encoded() == Array("PROXY UNKNOWN\r\n".utf8))
  }

  @Test("A header that cannot be written says why")
  func unwritableHeaders() {
    func error(_ change: (inout ProxyHeader) -> Void) -> String? {
      var header = ProxyHeader()
      change(&header)
      let error = #expect(throws: ProxyHeader.FormatError.self) { try header.encoded() }
      #expect(error?.offset == nil)
      return error?.description
    }
    let address = "An address is missing, or is not one of the PROXY header's protocol"
    #expect(error { $0.sourceAddress = .localHost } == address)
    #expect(error { $0.destinationAddress = .localHost } == address)
    #expect(error { ($0.sourceAddress, $0.destinationAddress) = (.any, .localHost) } == address)
    #expect(
      error { ($0.version, $0.tlvs) = (.v1, [.init(type: 1, value: [])]) }
        == "A PROXY header of version 1 has neither TLVs nor a checksum"
    )
    #expect(
      error { ($0.version, $0.hasChecksum) = (.v1, true) }
        == "A PROXY header of version 1 has neither TLVs nor a checksum"
    )
    #expect(
      error { $0.tlvs = [.init(type: 3, value: [1, 2, 3, 4])] }
        == "The checksum of a PROXY header is calculated, not given as a TLV"
    )
    #expect(
      error { $0.tlvs = [.init(type: 5, value: [UInt8](repeating: 0, count: 129))] }
        == "The unique ID in the PROXY header is longer than 128 bytes"
    )
    #expect(
      error { $0.tlvs = [.init(type: 4, value: [UInt8](repeating: 0, count: 65536))] }
        == "The PROXY header is too long"
    )
  }

  @Test("A value that is too long to be sent says nothing")
  func oversizedValues() {
    // Modulo 65,536 each is a length that the value may have.
    func oversized(_ type: UInt8, _ count: Int, _ byte: UInt8) -> ProxyHeader.TLV {
      .init(type: type, value: [1] + [UInt8](repeating: byte, count: 65536 + count - 1))
    }
    var header = ProxyHeader()
    header.tlvs = [
      oversized(0x20, 5, 0), oversized(0xe0, 8, 0), oversized(0xea, 5, 97), oversized(0xee, 5, 0),
    ]
    #expect(header.tls == nil && header.gcpConnectionID == nil)
    #expect(header.awsVPCEndpoint == nil && header.azureLinkID == nil)
  }

  @Test("A header that says nothing has no values")
  func noValues() {
    let header = ProxyHeader()
    #expect(header.alpn == nil && header.authority == nil && header.uniqueID == nil && header.tls == nil)
    #expect(header.awsVPCEndpoint == nil && header.azureLinkID == nil && header.gcpConnectionID == nil)
  }
}
