/// What matters here of a request line and its header fields.
struct RequestHead: Equatable {
  enum Method {
    case head
    case other
  }

  enum Version {
    case http10
    case http11
  }

  var method: Method
  var version: Version
  /// Whether the connection ends after the answer: the client says so, or sends a body, which nobody reads.
  var isLast: Bool

  /// Nil when this is not HTTP/1.
  init?(_ bytes: ArraySlice<UInt8>) {
    var lines = bytes.split(separator: lf)[...]
    guard let line = lines.popFirst().map(withoutReturn) else { return nil }
    let words = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
    guard words.count == 3, !words[0].isEmpty, !words[1].isEmpty else { return nil }
    method = words[0].elementsEqual("HEAD".utf8) ? .head : .other
    if words[2].elementsEqual("HTTP/1.1".utf8) {
      version = .http11
    } else if words[2].elementsEqual("HTTP/1.0".utf8) {
      version = .http10
    } else {
      return nil
    }
    var (asksToClose, asksToKeep, hasBody) = (false, false, false)
    for line in lines.map(withoutReturn) where !line.isEmpty {
      guard let colon = line.firstIndex(of: UInt8(ascii: ":")), colon > line.startIndex else { return nil }
      let (name, value) = (line[..<colon], line[(colon + 1)...])
      if isSame(name, "connection") {
        let options = value.split(separator: UInt8(ascii: ",")).map(trimmed)
        asksToClose = asksToClose || options.contains { isSame($0, "close") }
        asksToKeep = asksToKeep || options.contains { isSame($0, "keep-alive") }
      } else if isSame(name, "content-length") {
        hasBody = hasBody || !trimmed(value).elementsEqual("0".utf8)
      } else if isSame(name, "transfer-encoding") {
        hasBody = true
      }
    }
    isLast = asksToClose || hasBody || version == .http10 && !asksToKeep
  }
}

private func withoutReturn(_ line: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
  line.last == cr ? line.dropLast() : line
}

private func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
  func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
  var rest = bytes.drop(while: isBlank)
  while let last = rest.last, isBlank(last) { rest.removeLast() }
  return rest
}

/// Compares without regard to case.
private func isSame(_ bytes: ArraySlice<UInt8>, _ lowercase: StaticString) -> Bool {
  guard bytes.count == lowercase.utf8CodeUnitCount else { return false }
  return lowercase.withUTF8Buffer { zip(bytes, $0).allSatisfy { $0 | 0x20 == $1 } }
}
