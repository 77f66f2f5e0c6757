// SPDX-License-Identifier: Apache-2.0

/// What a JSON text (RFC 8259) says; written by hand, so that the module needs no Foundation.
indirect enum JSONValue: CustomStringConvertible {
  case null
  case bool(Bool)
  case count(UInt64)
  case integer(Int)
  /// In seconds, as a number with three decimals.
  case seconds(Duration)
  case text(String)
  case array([JSONValue])
  /// In this order.
  case object(KeyValuePairs<String, JSONValue>)

  /// The text, in one line.
  var description: String {
    var text = ""
    write(to: &text)
    return text
  }

  private func write(to text: inout String) {
    switch self {
    case .null: text += "null"
    case .bool(let value): text += value ? "true" : "false"
    case .count(let value): text += "\(value)"
    case .integer(let value): text += "\(value)"
    case .seconds(let value): text += value.inSeconds
    case .text(let value): Self.write(value, to: &text)
    case .array(let values):
      text += "["
      for (index, value) in values.enumerated() {
        if index > 0 { text += "," }
        value.write(to: &text)
      }
      text += "]"
    case .object(let members):
      text += "{"
      for (index, member) in members.enumerated() {
        if index > 0 { text += "," }
        Self.write(member.key, to: &text)
        text += ":"
        member.value.write(to: &text)
      }
      text += "}"
    }
  }

  /// As a string: with everything escaped that RFC 8259 wants escaped, and nothing else.
  private static func write(_ string: String, to text: inout String) {
    text += "\""
    for scalar in string.unicodeScalars {
      switch scalar {
      case "\"": text += "\\\""
      case "\\": text += "\\\\"
      case "\n": text += "\\n"
      case "\r": text += "\\r"
      case "\t": text += "\\t"
      case ..<" ": text += "\\u00" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
      default: text.unicodeScalars.append(scalar)
      }
    }
    text += "\""
  }
}

extension JSONValue {
  /// `null` for nil.
  init<Value>(_ value: Value?, _ make: (Value) -> JSONValue) {
    self = value.map(make) ?? .null
  }
}

extension Duration {
  /// With three decimals, cut off: "12.034".
  var inSeconds: String {
    let milliseconds = Int(max(self, .zero).limited / .milliseconds(1))
    let rest = String(milliseconds % 1000)
    return "\(milliseconds / 1000)." + String(repeating: "0", count: 3 - rest.count) + rest
  }
}
