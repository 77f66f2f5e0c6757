// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import BitTorrent

@Suite("Bencode")
struct BencodeTests {
  private func parse(_ text: String) throws(BencodeError) -> Bencode {
    try BencodeParser.parse(Array(text.utf8))
  }

  @Test("Values of all four kinds are read, nested in any way")
  func values() throws {
    let root = try #require(try parse("d3:agei-42e4:listl0:i0ed1:k1:vee3:keyi7ee").dictionary)
    #expect(root["age"]?.integer == -42)
    let list = try #require(root["list"]?.list)
    #expect(list.count == 3)
    #expect(list[0].bytes == [])
    #expect(list[1].integer == 0)
    #expect(list[2].dictionary?["k"]?.bytes == Array("v".utf8))
    #expect(root["key"]?.integer == 7)
    #expect(root["none"] == nil)
  }

  @Test("A dictionary has the place of each value")
  func source() throws {
    let input = Array("d1:a2:xx4:infod1:bi1eee".utf8)
    let root = try #require(try BencodeParser.parse(input).dictionary)
    let range = try #require(root.source(of: "info"))
    #expect(String(decoding: input[range], as: UTF8.self) == "d1:bi1ee")
  }

  @Test(
    "What is not bencoded is refused",
    arguments: [
      "", "i", "ie", "i-e", "i-0e", "i03e", "i1", "i1x", "i9223372036854775808e", "1", "1:", "2:a", "01:a",
      "-1:a",
      "99999999999999999999:a", "9223372036854775807:a", "l", "li1e", "d", "d1:a", "d1:ae", "di1ei2ee", "e",
      "x", "i1ei2e",
      "le ", "\u{0}",
    ]
  )
  func refused(_ text: String) {
    #expect(throws: BencodeError.self) { try parse(text) }
  }

  @Test("Numbers reach as far as an Int")
  func numbers() throws {
    #expect(try parse("i9223372036854775807e").integer == Int.max)
    #expect(try parse("i-9223372036854775807e").integer == -Int.max)
  }

  @Test("A million nested lists are an error")
  func depth() throws {
    #expect(throws: BencodeError.self) { try parse(String(repeating: "l", count: 1_000_000)) }
    #expect(throws: BencodeError.self) { try parse(String(repeating: "d1:a", count: 1_000_000)) }
    func nested(_ count: Int) -> String {
      String(repeating: "l", count: count) + String(repeating: "e", count: count)
    }
    #expect(throws: Never.self) { try parse(nested(33)) }
    #expect(throws: BencodeError.self) { try parse(nested(34)) }
  }

  @Test("The number of values is limited")
  func count() {
    #expect(throws: BencodeError.self) { try parse("l" + String(repeating: "0:", count: 500_001) + "e") }
  }

  @Test("No input traps: a good one with any byte changed, cut or doubled")
  func mutations() {
    let good = Array("d8:announce3:url4:infod6:lengthi5e4:name1:n12:piece lengthi16e6:pieces0:eli1e1:ae".utf8)
    for index in good.indices {
      for byte in [
        0, UInt8(ascii: "-"), UInt8(ascii: "9"), UInt8(ascii: "e"), UInt8(ascii: "d"), UInt8(ascii: ":"), 255,
      ] {
        var changed = good
        changed[index] = byte
        _ = try? BencodeParser.parse(changed)
        changed.insert(byte, at: index)
        _ = try? BencodeParser.parse(changed)
      }
      _ = try? BencodeParser.parse(Array(good[..<index]))
      _ = try? BencodeParser.parse(Array(good[index...]))
    }
  }
}
