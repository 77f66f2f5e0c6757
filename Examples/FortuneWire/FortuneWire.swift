// SPDX-License-Identifier: Apache-2.0

/// A fortune's form on the wire: a string as Qt's QDataStream writes it.
///
/// The length in bytes as a big-endian 32-bit number, then the text in UTF-16, big-endian, without a byte order
/// mark or an end mark.
public enum FortuneWire {
  /// What is around the string.
  public enum Framing: Sendable {
    /// Nothing, as in the Fortune examples since Qt 5.7: the string says how long it is.
    case bare
    /// A big-endian 16-bit number before it, counting the bytes that follow, as up to Qt 5.6.
    case lengthPrefixed
  }

  /// Why bytes are not a fortune.
  public enum DecodingError: Error, Equatable {
    /// No string can begin like this; most often the other side uses the other framing.
    case malformed
    /// The string claims more bytes than ``FortuneWire/maximumByteCount``.
    case tooLong
  }

  /// How many bytes of text ``decode(_:framing:)`` takes at most; no fortune needs more.
  public static let maximumByteCount = 60_000

  private static let nullString: UInt32 = 0xffff_ffff

  /// Writes a fortune.
  ///
  /// - Parameter text: a text of at most ``maximumByteCount`` bytes in UTF-16.
  public static func encode(_ text: String, framing: Framing) -> [UInt8] {
    let units = Array(text.utf16)
    let byteCount = units.count * 2
    precondition(byteCount <= maximumByteCount, "A fortune is a sentence, not a book")
    var bytes: [UInt8] = []
    if framing == .lengthPrefixed {
      bytes += bigEndian(UInt16(4 + byteCount))
    }
    bytes += bigEndian(UInt32(byteCount))
    for unit in units {
      bytes += bigEndian(unit)
    }
    return bytes
  }

  /// Reads a fortune from the bytes that have arrived so far.
  ///
  /// - Returns: the text; nil when more bytes are needed. Qt's null string is read as the empty one.
  /// - Throws: ``DecodingError`` when no further bytes can make it a fortune.
  public static func decode(_ bytes: [UInt8], framing: Framing) throws(DecodingError) -> String? {
    var rest = bytes[...]
    var announced: Int?
    if framing == .lengthPrefixed {
      guard let length: UInt16 = takeInteger(&rest) else { return nil }
      guard length >= 4 else { throw .malformed }
      announced = Int(length)
    }
    guard let length: UInt32 = takeInteger(&rest) else { return nil }
    let byteCount = length == nullString ? 0 : Int(length)
    if let announced, announced != 4 + byteCount { throw .malformed }
    guard byteCount <= maximumByteCount else { throw .tooLong }
    guard byteCount.isMultiple(of: 2) else { throw .malformed }
    guard rest.count >= byteCount else { return nil }
    var units: [UInt16] = []
    while units.count < byteCount / 2, let unit: UInt16 = takeInteger(&rest) {
      units.append(unit)
    }
    return String(decoding: units, as: UTF16.self)
  }

  private static func bigEndian<Integer: FixedWidthInteger>(_ value: Integer) -> [UInt8] {
    stride(from: Integer.bitWidth - 8, through: 0, by: -8).map { UInt8(truncatingIfNeeded: value >> $0) }
  }

  /// Takes a big-endian number off the front; nil when there are too few bytes.
  private static func takeInteger<Integer: FixedWidthInteger>(_ bytes: inout ArraySlice<UInt8>) -> Integer? {
    let size = Integer.bitWidth / 8
    guard bytes.count >= size else { return nil }
    defer { bytes = bytes.dropFirst(size) }
    return bytes.prefix(size).reduce(0) { $0 << 8 | Integer($1) }
  }
}
