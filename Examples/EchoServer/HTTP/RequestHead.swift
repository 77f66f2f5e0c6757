// SPDX-License-Identifier: Apache-2.0

/// What matters here of a request line and its header fields.
struct RequestHead: Equatable {
  /// The methods that are served; RFC 9110 asks for the first two of every server.
  enum Method: String {
    case get = "GET"
    case head = "HEAD"
    case post = "POST"
  }

  enum Version: Equatable {
    case http10
    case http11
  }

  /// How the end of the content is found.
  enum Content: Equatable {
    case length(Int)
    case chunked
  }

  var method: Method
  var version: Version
  var content: Content
  /// Whether the connection ends after the answer, because the client says so.
  var isLast: Bool
  /// Whether the client waits for `100 Continue` before it sends the content.
  var awaitsContinue: Bool
}

/// Reads the lines of a head, one by one, and refuses what RFC 9110 and 9112 require servers to refuse. Each of these
/// refusals has a request behind it that two servers in a row take for different ones.
struct RequestHeadReader {
  /// The longest content that is read, in bytes; also the largest number that is distinguished from larger ones.
  static let longestContent = 1 << 20

  private let method: RequestHead.Method
  private let version: RequestHead.Version
  private var hasHost = false
  private var contentLength: Int?
  private var codings: [ArraySlice<UInt8>] = []
  private var (asksToClose, asksToKeep, expectsContinue) = (false, false, false)

  init(requestLine line: ArraySlice<UInt8>) throws(Refusal) {
    // Exactly one space between two of them: other blanks are how a proxy and a server come to disagree.
    let words = line.split(separator: space, omittingEmptySubsequences: false)
    guard words.count == 3, words[0].isToken else { throw .badRequest }
    let (method, target) = (words[0], words[1])
    version = try Self.version(words[2])
    guard let known = RequestHead.Method(rawValue: String(decoding: method, as: UTF8.self)) else {
      // CONNECT among them, which asks for a tunnel.
      throw .notImplemented
    }
    guard target.isPathAndQuery || Self.isAbsolute(target) else { throw .badRequest }
    self.method = known
  }

  private static func version(_ word: ArraySlice<UInt8>) throws(Refusal) -> RequestHead.Version {
    let bytes = Array(word)
    guard bytes.count == 8, bytes.starts(with: "HTTP/".utf8), bytes[5].isDigit, bytes[7].isDigit,
      bytes[6] == UInt8(ascii: ".")
    else { throw .badRequest }
    guard bytes[5] == UInt8(ascii: "1") else { throw .versionNotSupported }
    return bytes[7] == UInt8(ascii: "0") ? .http10 : .http11
  }

  /// Whether this is a URI as proxies get it, which servers have to understand, too.
  private static func isAbsolute(_ target: ArraySlice<UInt8>) -> Bool {
    guard let colon = target.firstIndex(of: UInt8(ascii: ":")) else { return false }
    let (scheme, rest) = (target[..<colon], target[(colon + 1)...])
    guard scheme.isSame(as: "http") || scheme.isSame(as: "https"), rest.starts(with: "//".utf8) else {
      return false
    }
    let place = rest.dropFirst(2)
    let path = place.drop { $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "?") }
    let slash = [UInt8(ascii: "/")]
    return place[..<path.startIndex].isAuthority && (slash + path)[...].isPathAndQuery
  }

  /// Takes a line `Name: value`. A folded line begins with a blank, which no name contains.
  mutating func addField(_ line: ArraySlice<UInt8>) throws(Refusal) {
    let (name, value) = try Self.field(line)
    if name.isSame(as: "host") {
      guard !hasHost, value.isAuthority else { throw .badRequest }
      hasHost = true
    } else if name.isSame(as: "content-length") {
      // A second one is refused even if it says the same, which is allowed and simple.
      guard contentLength == nil else { throw .badRequest }
      guard let length = value.number(radix: 10, limit: Self.longestContent + 1) else { throw .badRequest }
      contentLength = length
    } else if name.isSame(as: "transfer-encoding") {
      codings += value.listElements
    } else if name.isSame(as: "connection") {
      let options = value.listElements
      asksToClose = asksToClose || options.contains { $0.isSame(as: "close") }
      asksToKeep = asksToKeep || options.contains { $0.isSame(as: "keep-alive") }
    } else if name.isSame(as: "expect") {
      guard value.isSame(as: "100-continue") else { throw .expectationFailed }
      expectsContinue = true
    }
  }

  /// The name and the value of a field, of a head or of a trailer.
  static func field(
    _ line: ArraySlice<UInt8>
  ) throws(Refusal) -> (name: ArraySlice<UInt8>, value: ArraySlice<UInt8>) {
    guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { throw .badRequest }
    let (name, value) = (line[..<colon], line[(colon + 1)...])
    guard name.isToken, value.isFieldValue else { throw .badRequest }
    return (name, value.trimmed)
  }

  /// The head, when its last field has come.
  func end() throws(Refusal) -> RequestHead {
    guard hasHost || version == .http10 else { throw .badRequest }
    let content = try content()
    return RequestHead(
      method: method,
      version: version,
      content: content,
      isLast: asksToClose || version == .http10 && !asksToKeep,
      awaitsContinue: expectsContinue && version == .http11 && content != .length(0)
    )
  }

  private func content() throws(Refusal) -> RequestHead.Content {
    guard let last = codings.last else {
      guard contentLength ?? 0 <= Self.longestContent else { throw .contentTooLarge }
      return .length(contentLength ?? 0)
    }
    // Both lengths at once are the classic of request smuggling; HTTP/1.0 has no transfer codings.
    guard contentLength == nil, version == .http11 else { throw .badRequest }
    guard last.isSame(as: "chunked") else { throw .badRequest }
    for coding in codings.dropLast() {
      guard !coding.isEmpty, !coding.isSame(as: "chunked") else { throw .badRequest }
    }
    guard codings.count == 1 else { throw .notImplemented }
    return .chunked
  }
}
