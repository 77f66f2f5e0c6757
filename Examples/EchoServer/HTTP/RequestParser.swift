// SPDX-License-Identifier: Apache-2.0

import TCPServerKit

/// Cuts the bytes of a connection into requests, whose content it drops.
///
/// Lines end with CRLF and with nothing else: a lone CR or LF is refused wherever it is.
struct RequestParser {
  static let longestRequestLine = 8192
  static let longestHead = 16384
  static let mostFields = 100
  static let longestChunkLine = 256

  enum Event: Equatable {
    /// A request has arrived, with all of its content.
    case request(RequestHead)
    /// The client waits for `100 Continue`; its request is still to come.
    case awaitsContinue
    /// What follows is never parsed.
    case refused(Refusal)
  }

  private enum Stage {
    case requestLine
    case fields(RequestHeadReader)
    case content(RequestHead, left: Int)
    case chunkLine(RequestHead)
    case chunk(RequestHead, left: Int)
    case chunkEnd(RequestHead)
    case trailer(RequestHead)
    case refused
  }

  private enum Step {
    case needsBytes
    case goesOn
    case event(Event)
  }

  private var stage = Stage.requestLine
  private var bytes: [UInt8] = []
  private var start = 0
  /// No line ends before this place: a client that sends byte by byte costs no search of the whole each time.
  private var searched = 0
  private var hasSkippedLine = false
  /// What the lines of this head or trailer, and their number, may still grow by.
  private var (roomForLines, roomForFields) = (0, 0)
  /// What the chunks of this request may still grow by. Their lines count as well, or chunks of a byte would hide them.
  private var roomForChunks = 0

  /// Whether a request has begun and is not complete.
  var isWithinRequest: Bool {
    if case .requestLine = stage { start < bytes.count } else { true }
  }

  mutating func append(_ more: RawSpan) {
    if start > 0 {
      bytes.removeFirst(start)
      searched -= start
      start = 0
    }
    more.withUnsafeBytes { bytes.append(contentsOf: $0) }
  }

  /// What comes next; nil when it has not arrived completely, and after a refusal.
  mutating func next() -> Event? {
    do throws(Refusal) {
      while true {
        switch try advance() {
        case .needsBytes: return nil
        case .goesOn: continue
        case .event(let event): return event
        }
      }
    } catch {
      stage = .refused
      return .refused(error)
    }
  }

  /// Goes on by a line, or by a piece of content.
  private mutating func advance() throws(Refusal) -> Step {
    switch stage {
    case .refused:
      return .needsBytes
    case .requestLine:
      guard let line = try takeLine(limit: Self.longestRequestLine, orElse: .targetTooLong) else { break }
      return try begin(line)
    case .fields(var head):
      guard let line = try takeHeadLine() else { break }
      if line.isEmpty { return try endHead(head.end()) }
      try head.addField(line)
      stage = .fields(head)
      return .goesOn
    case .content(let head, let left):
      return skip(left) { .content(head, left: $0) } ?? complete(head)
    case .chunkLine(let head):
      guard let line = try takeLine(limit: Self.longestChunkLine, orElse: .badRequest) else { break }
      return try beginChunk(line, head)
    case .chunk(let head, let left):
      if let step = skip(left, or: { .chunk(head, left: $0) }) { return step }
      stage = .chunkEnd(head)
      return .goesOn
    case .chunkEnd(let head):
      guard let line = try takeLine(limit: 2, orElse: .badRequest) else { break }
      guard line.isEmpty else { throw .badRequest }
      stage = .chunkLine(head)
      return .goesOn
    case .trailer(let head):
      guard let line = try takeHeadLine() else { break }
      if line.isEmpty { return complete(head) }
      // Nothing in a trailer changes where a request ends.
      _ = try RequestHeadReader.field(line)
      return .goesOn
    }
    return .needsBytes
  }

  // MARK: - Parts of a request

  private mutating func begin(_ line: ArraySlice<UInt8>) throws(Refusal) -> Step {
    if line.isEmpty {
      // Old clients send one empty line too many.
      guard !hasSkippedLine else { throw .badRequest }
      hasSkippedLine = true
    } else {
      beginLines(Self.longestHead - line.count - 2)
      stage = .fields(try RequestHeadReader(requestLine: line))
    }
    return .goesOn
  }

  private mutating func endHead(_ head: RequestHead) -> Step {
    switch head.content {
    case .length(0): return complete(head)
    case .length(let length): stage = .content(head, left: length)
    case .chunked:
      roomForChunks = RequestHeadReader.longestContent
      stage = .chunkLine(head)
    }
    // Not where the content is coming already.
    return head.awaitsContinue && start == bytes.count ? .event(.awaitsContinue) : .goesOn
  }

  private mutating func beginChunk(_ line: ArraySlice<UInt8>, _ head: RequestHead) throws(Refusal) -> Step {
    let digits = line.prefix { $0.hexValue != nil }
    let limit = RequestHeadReader.longestContent + 1
    guard let size = digits.number(radix: 16, limit: limit) else { throw .badRequest }
    // An extension; nothing else may follow the size.
    let rest = line[digits.endIndex...]
    guard rest.isEmpty || rest.trimmed.first == UInt8(ascii: ";") && rest.isFieldValue else {
      throw .badRequest
    }
    guard size > 0 else {
      beginLines(Self.longestHead)
      stage = .trailer(head)
      return .goesOn
    }
    roomForChunks -= size + line.count
    guard roomForChunks >= 0 else { throw .contentTooLarge }
    stage = .chunk(head, left: size)
    return .goesOn
  }

  private mutating func complete(_ head: RequestHead) -> Step {
    stage = .requestLine
    hasSkippedLine = false
    return .event(.request(head))
  }

  // MARK: - Bytes

  /// Drops content; nil when nothing of it is left.
  private mutating func skip(_ count: Int, or stage: (_ left: Int) -> Stage) -> Step? {
    let dropped = min(count, bytes.count - start)
    start += dropped
    searched = max(searched, start)
    guard dropped < count else { return nil }
    self.stage = stage(count - dropped)
    return .needsBytes
  }

  private mutating func beginLines(_ room: Int) {
    roomForLines = room
    roomForFields = Self.mostFields
  }

  /// The next line of a head or a trailer.
  private mutating func takeHeadLine() throws(Refusal) -> ArraySlice<UInt8>? {
    guard let line = try takeLine(limit: roomForLines, orElse: .headTooLarge) else { return nil }
    roomForLines -= line.count + 2
    if !line.isEmpty {
      roomForFields -= 1
      guard roomForFields >= 0 else { throw .headTooLarge }
    }
    return line
  }

  /// The next line without its end; nil when it has not arrived completely.
  ///
  /// - Parameter limit: how long it may be with its end.
  private mutating func takeLine(limit: Int, orElse refusal: Refusal) throws(Refusal) -> ArraySlice<UInt8>? {
    guard let newline = bytes[searched...].firstIndex(of: lf) else {
      searched = bytes.count
      guard bytes.count - start < max(limit, 1) else { throw refusal }
      return nil
    }
    guard newline - start < limit else { throw refusal }
    guard newline > start, bytes[newline - 1] == cr else { throw .badRequest }
    defer {
      start = newline + 1
      searched = start
    }
    return bytes[start..<newline - 1]
  }
}
