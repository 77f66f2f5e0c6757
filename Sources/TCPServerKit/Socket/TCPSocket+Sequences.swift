/// The input as sequences, on top of the async reads: cancellation and isolation are theirs.
extension TCPSocket {
  /// The input byte by byte, until its end.
  public var bytes: Bytes {
    Bytes(socket: self)
  }

  /// The input line by line, as UTF-8 without the line endings (LF or CRLF), until its end.
  ///
  /// A line of more than 64 KiB comes in pieces.
  public var lines: Lines {
    Lines(socket: self)
  }

  /// The bytes of a socket's input.
  public struct Bytes: AsyncSequence, AsyncIteratorProtocol {
    /// What the sequence consists of.
    public typealias Element = UInt8
    /// What an iteration can throw.
    public typealias Failure = SocketError

    fileprivate let socket: TCPSocket
    private var chunk: [UInt8] = []
    private var next = 0

    fileprivate init(socket: TCPSocket) {
      self.socket = socket
    }

    /// Itself: the input can be iterated over once.
    public func makeAsyncIterator() -> Bytes {
      self
    }

    /// The next byte; nil at the end.
    public mutating func next() async throws(SocketError) -> UInt8? {
      if next == chunk.count {
        guard let more = try await socket.read(maxLength: 16384) else { return nil }
        chunk = more
        next = 0
      }
      defer { next += 1 }
      return chunk[next]
    }

    /// The next byte, as the `for await` loop asks for it.
    public mutating func next(
      isolation actor: isolated (any Actor)?
    ) async throws(SocketError) -> UInt8? {
      try await next()
    }
  }

  /// The lines of a socket's input.
  public struct Lines: AsyncSequence, AsyncIteratorProtocol {
    /// What the sequence consists of.
    public typealias Element = String
    /// What an iteration can throw.
    public typealias Failure = SocketError

    fileprivate let socket: TCPSocket

    /// Itself: the input can be iterated over once.
    public func makeAsyncIterator() -> Lines {
      self
    }

    /// The next line; nil at the end.
    public mutating func next() async throws(SocketError) -> String? {
      guard var line = try await socket.readLine()?[...] else { return nil }
      if line.last == UInt8(ascii: "\n") {
        line.removeLast()
        if line.last == UInt8(ascii: "\r") {
          line.removeLast()
        }
      }
      return String(decoding: line, as: UTF8.self)
    }

    /// The next line, as the `for await` loop asks for it.
    public mutating func next(
      isolation actor: isolated (any Actor)?
    ) async throws(SocketError) -> String? {
      try await next()
    }
  }
}
