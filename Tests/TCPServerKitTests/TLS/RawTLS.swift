// SPDX-License-Identifier: Apache-2.0

/// Messages of a client of TLS 1.2, as far as they are not encrypted.
enum RawTLS {
  /// A first message for some.example, to a server with an ECDSA certificate.
  static var clientHello: [UInt8] {
    let name = counted([0] + counted(Array("some.example".utf8)))
    let groups = counted([0, 29, 0, 23])
    let signatures = counted([4, 3])
    let extensions =
      [0, 0] + counted(name) + [0, 10] + counted(groups) + [0, 13] + counted(signatures)
    let random = [UInt8](repeating: 1, count: 32)
    return record([1], [3, 3] + random + [0] + counted([0xc0, 0x2b]) + [1, 0] + counted(extensions))
  }

  static func certificate(_ certificate: [UInt8]) -> [UInt8] {
    record([11], [0] + counted([0] + counted(certificate)))
  }

  static let serverHelloDone: [UInt8] = [14, 0, 0, 0]

  private static func record(_ type: [UInt8], _ body: [UInt8]) -> [UInt8] {
    [22, 3, 3] + counted(type + [0] + counted(body))
  }

  private static func counted(_ bytes: [UInt8]) -> [UInt8] {
    [UInt8(bytes.count >> 8), UInt8(bytes.count & 0xff)] + bytes
  }
}
