// SPDX-License-Identifier: Apache-2.0

import TCPServerKit

// The grammar of RFC 9110, 9112 and 3986, as far as a server has to look.

let cr = UInt8(ascii: "\r")
let lf = UInt8(ascii: "\n")
let space = UInt8(ascii: " ")
let tab = UInt8(ascii: "\t")

extension UInt8 {
  var isDigit: Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(self)
  }

  var isLetter: Bool {
    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(self | 0x20)
  }

  var hexValue: Int? {
    switch self {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): Int(self - UInt8(ascii: "0"))
    case UInt8(ascii: "a")...UInt8(ascii: "f"): Int(self - UInt8(ascii: "a")) + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): Int(self - UInt8(ascii: "A")) + 10
    default: nil
    }
  }

  /// `tchar`: what methods and the names of fields consist of. A space before the colon is not among them.
  var isTokenCharacter: Bool {
    isLetter || isDigit || isOne(of: "!#$%&'*+-.^_`|~")
  }

  /// What the value of a field consists of; CR and NUL are not among them.
  var isFieldCharacter: Bool {
    self >= 0x20 && self != 0x7f || self == tab
  }

  /// What a path or a query consists of, beside percent-encoded bytes.
  var isTargetCharacter: Bool {
    isLetter || isDigit || isOne(of: "-._~!$&'()*+,;=:@/?")
  }

  private func isOne(of characters: StaticString) -> Bool {
    characters.withUTF8Buffer { $0.contains(self) }
  }
}

extension ArraySlice<UInt8> {
  var isToken: Bool {
    !isEmpty && allSatisfy(\.isTokenCharacter)
  }

  var isFieldValue: Bool {
    allSatisfy(\.isFieldCharacter)
  }

  /// Whether this is a path with or without a query, as in most requests.
  var isPathAndQuery: Bool {
    guard first == UInt8(ascii: "/") else { return false }
    var rest = self
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "%") {
        guard rest.popFirst()?.hexValue != nil, rest.popFirst()?.hexValue != nil else { return false }
      } else if !byte.isTargetCharacter {
        return false
      }
    }
    return true
  }

  /// Whether this names a host, with or without a port. A user's name is refused, as RFC 9110 recommends, and so are
  /// commas, which a proxy puts between the values of two fields.
  var isAuthority: Bool {
    var host = self
    if let colon = lastIndex(of: UInt8(ascii: ":")), last != UInt8(ascii: "]") {
      let port = self[(colon + 1)...]
      guard port.allSatisfy(\.isDigit), port.isEmpty || UInt16(String(decoding: port, as: UTF8.self)) != nil
      else { return false }
      host = self[..<colon]
    }
    if host.first == UInt8(ascii: "["), host.last == UInt8(ascii: "]") {
      let address = String(decoding: host.dropFirst().dropLast(), as: UTF8.self)
      return address.contains(":") && !address.contains("%") && HostAddress(address) != nil
    }
    return !host.isEmpty
      && host.allSatisfy {
        $0.isLetter || $0.isDigit || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-")
          || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: "~")
      }
  }

  /// The value of a field without the blanks around it.
  var trimmed: ArraySlice<UInt8> {
    var rest = drop { $0 == space || $0 == tab }
    while let last = rest.last, last == space || last == tab { rest.removeLast() }
    return rest
  }

  /// The elements of a list, which may be empty.
  var listElements: [ArraySlice<UInt8>] {
    split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false).map(\.trimmed)
  }

  /// Compares without regard to case.
  func isSame(as lowercase: StaticString) -> Bool {
    guard count == lowercase.utf8CodeUnitCount else { return false }
    return lowercase.withUTF8Buffer { text in
      zip(self, text).allSatisfy { ($0.isLetter ? $0 | 0x20 : $0) == $1 }
    }
  }

  /// The number that these digits write, `limit` at most; nil when they are no digits.
  func number(radix: Int, limit: Int) -> Int? {
    guard !isEmpty else { return nil }
    var number = 0
    for byte in self {
      guard let digit = byte.hexValue, digit < radix else { return nil }
      // Not a step further than the limit, so that no length of a text overflows.
      number = Swift.min(number * radix + digit, limit)
    }
    return number
  }
}
