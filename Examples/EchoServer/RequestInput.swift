/// The bytes of a connection that are not yet requests.
struct RequestInput {
  static let longestHead = 16384

  enum Request: Equatable {
    case head(RequestHead)
    case malformed
    case tooLong

    /// Whether the connection ends after the answer.
    var isLast: Bool {
      if case .head(let head) = self { head.isLast } else { true }
    }
  }

  private var bytes: [UInt8] = []
  private var start = 0
  /// No head ends before this place: a client that sends byte by byte is not searched anew each time.
  private var searched = 0

  mutating func append(_ more: RawSpan) {
    if start > 0 {
      bytes.removeFirst(start)
      searched -= start
      start = 0
    }
    more.withUnsafeBytes { bytes.append(contentsOf: $0) }
  }

  /// The next request; nil when it has not arrived completely.
  mutating func next() -> Request? {
    skipEmptyLines()
    guard let end = endOfHead() else {
      return bytes.count - start > Self.longestHead ? .tooLong : nil
    }
    let head = bytes[start..<end]
    start = end
    searched = end
    guard head.count <= Self.longestHead else { return .tooLong }
    return RequestHead(head).map { .head($0) } ?? .malformed
  }

  private mutating func skipEmptyLines() {
    while start < bytes.count, bytes[start] == cr || bytes[start] == lf {
      start += 1
    }
    searched = max(searched, start)
  }

  /// The place after the blank line.
  private mutating func endOfHead() -> Int? {
    while let newline = bytes[searched...].firstIndex(of: lf) {
      var next = newline + 1
      if next < bytes.count, bytes[next] == cr { next += 1 }
      guard next < bytes.count else {
        // Whether the next line is blank is not known yet.
        searched = newline
        return nil
      }
      if bytes[next] == lf { return next + 1 }
      searched = next
    }
    searched = bytes.count
    return nil
  }
}

let cr = UInt8(ascii: "\r")
let lf = UInt8(ascii: "\n")
