// SPDX-License-Identifier: Apache-2.0

import FortuneWire
import Testing

@Suite("The wire format")
struct FortuneWireTests {
  /// What a program built with Qt writes for these texts.
  static let recorded: [(text: String, bare: [UInt8])] = [
    (
      "You might have mail.",
      [0, 0, 0, 0x28] + "You might have mail.".utf8.flatMap { [0, $0] }
    ),
    ("é😀", [0, 0, 0, 6, 0x00, 0xe9, 0xd8, 0x3d, 0xde, 0x00]),
    ("", [0, 0, 0, 0]),
  ]

  @Test("A text is its length in bytes and its UTF-16, all big-endian", arguments: recorded)
  func bareBytes(text: String, bytes: [UInt8]) throws {
    #expect(FortuneWire.encode(text, framing: .bare) == bytes)
    #expect(try FortuneWire.decode(bytes, framing: .bare) == text)
  }

  @Test("The older framing puts the number of bytes in front", arguments: recorded)
  func prefixedBytes(text: String, bytes: [UInt8]) throws {
    let prefixed = [0, UInt8(bytes.count)] + bytes
    #expect(FortuneWire.encode(text, framing: .lengthPrefixed) == prefixed)
    #expect(try FortuneWire.decode(prefixed, framing: .lengthPrefixed) == text)
  }

  @Test(
    "Every part of a fortune is not yet a fortune",
    arguments: [FortuneWire.Framing.bare, .lengthPrefixed]
  )
  func incomplete(framing: FortuneWire.Framing) throws {
    let bytes = FortuneWire.encode("Soon.", framing: framing)
    for count in 0..<bytes.count {
      #expect(try FortuneWire.decode(Array(bytes.prefix(count)), framing: framing) == nil)
    }
    #expect(try FortuneWire.decode(bytes + [0], framing: framing) == "Soon.")
  }

  @Test("Qt's null string is read as the empty one")
  func null() throws {
    #expect(try FortuneWire.decode([0xff, 0xff, 0xff, 0xff], framing: .bare) == "")
  }

  @Test("The longest text survives both framings", arguments: [FortuneWire.Framing.bare, .lengthPrefixed])
  func longest(framing: FortuneWire.Framing) throws {
    let text = String(repeating: "x", count: FortuneWire.maximumByteCount / 2)
    #expect(try FortuneWire.decode(FortuneWire.encode(text, framing: framing), framing: framing) == text)
  }

  @Test("One framing's bytes are no fortune in the other")
  func wrongFraming() {
    #expect(throws: FortuneWire.DecodingError.tooLong) {
      try FortuneWire.decode(FortuneWire.encode("Hello", framing: .lengthPrefixed), framing: .bare)
    }
    #expect(throws: FortuneWire.DecodingError.malformed) {
      try FortuneWire.decode(FortuneWire.encode("Hello", framing: .bare), framing: .lengthPrefixed)
    }
  }

  @Test("Half a UTF-16 unit and impossible lengths are refused")
  func malformed() {
    #expect(throws: FortuneWire.DecodingError.malformed) {
      try FortuneWire.decode([0, 0, 0, 3, 0, 65, 0], framing: .bare)
    }
    #expect(throws: FortuneWire.DecodingError.tooLong) {
      try FortuneWire.decode([0xff, 0xff, 0xff, 0xfe], framing: .bare)
    }
    #expect(throws: FortuneWire.DecodingError.malformed) {
      try FortuneWire.decode([0, 9, 0, 0, 0, 2, 0, 65], framing: .lengthPrefixed)
    }
  }
}
