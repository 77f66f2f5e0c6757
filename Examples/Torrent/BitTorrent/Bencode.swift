// SPDX-License-Identifier: Apache-2.0

/// A value as torrent files and trackers write it.
package indirect enum Bencode: Sendable {
  case integer(Int)
  case bytes([UInt8])
  case list([Bencode])
  case dictionary(BencodeDictionary)

  package var integer: Int? {
    if case .integer(let value) = self { value } else { nil }
  }

  package var bytes: [UInt8]? {
    if case .bytes(let value) = self { value } else { nil }
  }

  package var list: [Bencode]? {
    if case .list(let value) = self { value } else { nil }
  }

  package var dictionary: BencodeDictionary? {
    if case .dictionary(let value) = self { value } else { nil }
  }
}

/// Keeps where each value was: a torrent's name is the hash of its `info` as it was written.
package struct BencodeDictionary: Sendable {
  struct Entry: Sendable {
    var key: [UInt8]
    var value: Bencode
    var source: Range<Int>
  }

  var entries: [Entry] = []

  package subscript(_ key: String) -> Bencode? {
    entry(key)?.value
  }

  /// Where in the input the value of a key is.
  package func source(of key: String) -> Range<Int>? {
    entry(key)?.source
  }

  private func entry(_ key: String) -> Entry? {
    entries.first { $0.key.elementsEqual(key.utf8) }
  }
}

package struct BencodeError: Error, CustomStringConvertible {
  package var description: String
}

/// Reads one value that fills its whole input. Whatever the input, it neither traps nor takes more memory than the
/// limits allow.
package struct BencodeParser {
  /// How deep lists and dictionaries may be nested.
  private static let mostDepth = 32
  /// Even the shortest value takes some dozens of bytes here.
  private static let mostValues = 500_000
  private static let digits = UInt8(ascii: "0")...UInt8(ascii: "9")

  private let input: [UInt8]
  private var position = 0
  private var values = 0

  package static func parse(_ input: [UInt8]) throws(BencodeError) -> Bencode {
    var parser = BencodeParser(input: input)
    let value = try parser.parseValue(depth: 0)
    guard parser.position == input.count else {
      throw parser.error("something stands behind the end")
    }
    return value
  }

  private init(input: [UInt8]) {
    self.input = input
  }

  private mutating func parseValue(depth: Int) throws(BencodeError) -> Bencode {
    values += 1
    guard values <= Self.mostValues else { throw error("there are too many values") }
    guard depth <= Self.mostDepth else { throw error("lists and dictionaries stand too deep in each other") }
    switch next {
    case UInt8(ascii: "i"):
      position += 1
      return .integer(try parseInteger(upTo: UInt8(ascii: "e")))
    case let digit? where Self.digits.contains(digit):
      return .bytes(try parseBytes())
    case UInt8(ascii: "l"):
      position += 1
      var list: [Bencode] = []
      while try !endIsNext() {
        list.append(try parseValue(depth: depth + 1))
      }
      return .list(list)
    case UInt8(ascii: "d"):
      position += 1
      return .dictionary(try parseDictionary(depth: depth))
    case nil:
      throw error("it ends too early")
    default:
      throw error("no value begins like this")
    }
  }

  private mutating func parseDictionary(depth: Int) throws(BencodeError) -> BencodeDictionary {
    var dictionary = BencodeDictionary()
    while try !endIsNext() {
      let key = try parseBytes()
      let start = position
      let value = try parseValue(depth: depth + 1)
      dictionary.entries.append(.init(key: key, value: value, source: start..<position))
    }
    return dictionary
  }

  private mutating func parseBytes() throws(BencodeError) -> [UInt8] {
    let count = try parseInteger(upTo: UInt8(ascii: ":"))
    guard count >= 0, count <= input.count - position else { throw error("a string has no such length") }
    defer { position += count }
    return Array(input[position..<position + count])
  }

  private mutating func parseInteger(upTo end: UInt8) throws(BencodeError) -> Int {
    let isNegative = next == UInt8(ascii: "-")
    if isNegative { position += 1 }
    let start = position
    var value = 0
    while let digit = next, digit != end {
      guard Self.digits.contains(digit) else { throw error("a number has no such digit") }
      let (tens, overflowed) = value.multipliedReportingOverflow(by: 10)
      let (sum, exceeded) = tens.addingReportingOverflow(Int(digit - UInt8(ascii: "0")))
      guard !overflowed, !exceeded else { throw error("a number is too large") }
      value = sum
      position += 1
    }
    guard next == end else { throw error("it ends too early") }
    let digits = position - start
    guard digits > 0, digits == 1 || input[start] != UInt8(ascii: "0"), !isNegative || value != 0 else {
      throw error("a number is not written like this")
    }
    position += 1
    return isNegative ? -value : value
  }

  private mutating func endIsNext() throws(BencodeError) -> Bool {
    guard let next else { throw error("it ends too early") }
    guard next == UInt8(ascii: "e") else { return false }
    position += 1
    return true
  }

  private var next: UInt8? {
    position < input.count ? input[position] : nil
  }

  private func error(_ reason: String) -> BencodeError {
    BencodeError(description: "not bencoded at byte \(position): \(reason)")
  }
}
