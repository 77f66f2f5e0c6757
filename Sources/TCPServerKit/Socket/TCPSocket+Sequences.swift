// SPDX-License-Identifier: Apache-2.0

/// The input as sequences, on top of the async reads.
extension TCPSocket {
  /// The input byte by byte, until its end.
  ///
  /// An iterator reads up to 16 KiB ahead. What it has read so and not given out, other reads find once it is released,
  /// as at the end of a `for await` loop.
  public var bytes: Bytes {
    Bytes(socket: self)
  }

  /// The input line by line, as UTF-8 without the line endings (LF or CRLF), until its end.
  ///
  /// Bytes that are not UTF-8 are replaced by U+FFFD, the replacement character: for what may be anything else, read by
  /// ``readLine(maxLength:timeout:)``, which gives the bytes as they came.
  ///
  /// A line of more than 64 KiB ends the sequence with ``SocketError/lineTooLong``: no piece of it looks like a line.
  /// ``lines(maxLength:timeout:)`` sets another limit.
  public var lines: Lines {
    lines()
  }

  /// The input line by line, as ``lines`` is.
  ///
  /// - Parameters:
  ///   - maxLength: the most bytes of a line, its ending among them; a longer one throws ``SocketError/lineTooLong``.
  ///   - timeout: how long each line may take; nil waits as long as it takes.
  public func lines(maxLength: Int = 65536, timeout: Duration? = nil) -> Lines {
    Lines(socket: self, maxLength: maxLength, timeout: timeout)
  }

  /// The bytes of a socket's input.
  public struct Bytes: AsyncSequence {
    /// What the sequence consists of.
    public typealias Element = UInt8
    /// What an iteration can throw.
    public typealias Failure = any Error

    fileprivate let socket: TCPSocket

    /// Makes an iterator, which goes on where the last one has ended.
    public func makeAsyncIterator() -> Iterator {
      Iterator(ahead: ReadAhead(socket))
    }

    /// Gives the bytes one by one.
    public struct Iterator: AsyncIteratorProtocol {
      fileprivate let ahead: ReadAhead

      /// The next byte; nil at the end.
      ///
      /// ## Cancellation
      ///
      /// Where it has to read, it throws `CancellationError` and has taken no byte.
      ///
      /// ## Isolation
      ///
      /// May be called from any task.
      public mutating func next() async throws -> UInt8? {
        if let byte = ahead.take() { return byte }
        return try await ahead.readMore() ? ahead.take() : nil
      }

      /// The next byte, as the `for await` loop asks for it.
      ///
      /// ## Cancellation
      ///
      /// Where it has to read, it throws `CancellationError` and has taken no byte.
      ///
      /// ## Isolation
      ///
      /// May be called from any task.
      public mutating func next(
        isolation actor: isolated (any Actor)?
      ) async throws -> UInt8? {
        try await next()
      }
    }
  }

  /// Bytes that were read before they are asked for. What is left of them is the socket's again.
  fileprivate final class ReadAhead {
    private let socket: TCPSocket
    private var chunk: [UInt8] = []
    private var next = 0

    init(_ socket: TCPSocket) {
      self.socket = socket
    }

    deinit {
      if next < chunk.count { socket.putBack(chunk[next...]) }
    }

    func take() -> UInt8? {
      guard next < chunk.count else { return nil }
      defer { next += 1 }
      return chunk[next]
    }

    /// - Returns: false at the end.
    func readMore() async throws -> Bool {
      guard let more = try await socket.read(maxLength: 16384) else { return false }
      (chunk, next) = (more, 0)
      return true
    }
  }

  /// The lines of a socket's input.
  public struct Lines: AsyncSequence, AsyncIteratorProtocol {
    /// What the sequence consists of.
    public typealias Element = String
    /// What an iteration can throw.
    public typealias Failure = any Error

    fileprivate let socket: TCPSocket
    fileprivate let maxLength: Int
    fileprivate let timeout: Duration?

    /// Itself: the input can be iterated over once.
    public func makeAsyncIterator() -> Lines {
      self
    }

    /// The next line; nil at the end.
    ///
    /// ## Cancellation
    ///
    /// That of ``TCPSocket/readLine(maxLength:timeout:)``: what came of the line stays readable.
    ///
    /// ## Isolation
    ///
    /// May be called from any task.
    public mutating func next() async throws -> String? {
      try await socket.readingLine(maxLength, timeout) { $0.takeLine($1) }
    }

    /// The next line, as the `for await` loop asks for it.
    ///
    /// ## Cancellation
    ///
    /// That of ``TCPSocket/readLine(maxLength:timeout:)``: what came of the line stays readable.
    ///
    /// ## Isolation
    ///
    /// May be called from any task.
    public mutating func next(
      isolation actor: isolated (any Actor)?
    ) async throws -> String? {
      try await next()
    }
  }
}

extension TCPSocket {
  /// Takes so many bytes as a text, without the line ending.
  fileprivate func takeLine(_ count: Int) -> String {
    var line = unsafe unreadBytes[..<count]
    if unsafe line.last == UInt8(ascii: "\n") {
      unsafe line.removeLast()
      if unsafe line.last == UInt8(ascii: "\r") {
        unsafe line.removeLast()
      }
    }
    let text = unsafe String(decoding: UnsafeRawBufferPointer(rebasing: line), as: UTF8.self)
    consume(count)
    return text
  }
}
