// SPDX-License-Identifier: Apache-2.0

/// A loop's one read buffer. An idle connection holds none; a read borrows this one while its handlers run.
@safe final class ReadBuffer {
  static let size = 65536

  private var memory: UnsafeMutableRawBufferPointer
  /// A body reads the memory, and may do anything meanwhile.
  private var isBeingRead = false
  /// The socket whose unread bytes are `unread`; it moves them away before another may read.
  private var borrower: Unmanaged<TCPSocket>?
  private(set) var unread: Range<Int> = 0..<0

  init() {
    unsafe memory = .allocate(byteCount: Self.size, alignment: 16)
  }

  deinit {
    unsafe memory.deallocate()
  }

  /// The whole buffer, for the kernel to write to. What an earlier borrower has not read is saved first, and what a
  /// body is reading stays.
  func take() -> UnsafeMutableRawBufferPointer {
    if let borrower = unsafe borrower {
      unsafe TCPSocket.alive(borrower.toOpaque())?.saveLentBytes()
    }
    if isBeingRead {
      isBeingRead = false
      unsafe memory = .allocate(byteCount: Self.size, alignment: 16)
    }
    return unsafe memory
  }

  /// Lets `body` read a part of the memory, which stays as it is until `body` returns.
  @inline(__always)
  func whileRead(_ bytes: UnsafeRawBufferPointer, _ body: (RawSpan) throws -> Void) rethrows {
    let read = unsafe memory
    isBeingRead = true
    defer {
      if unsafe read.baseAddress == memory.baseAddress {
        isBeingRead = false
      } else {
        unsafe read.deallocate()
      }
    }
    unsafe try body(bytes.bytes)
  }

  func lend(_ count: Int, to socket: TCPSocket) {
    unsafe borrower = Unmanaged.passUnretained(socket)
    unread = 0..<count
  }

  var unreadBytes: UnsafeRawBufferPointer {
    unsafe UnsafeRawBufferPointer(rebasing: memory[unread])
  }

  func consume(_ count: Int) {
    unread = (unread.lowerBound + count)..<unread.upperBound
    if unread.isEmpty { unsafe borrower = nil }
  }

  /// Ends the loan of a socket that is no more.
  func forget(_ address: UnsafeMutableRawPointer) {
    guard let borrower = unsafe borrower, unsafe borrower.toOpaque() == address else { return }
    unsafe self.borrower = nil
    unread = 0..<0
  }

  func isLent(to socket: TCPSocket) -> Bool {
    unsafe borrower?.toOpaque() == Unmanaged.passUnretained(socket).toOpaque()
  }

  /// Ends a loan; does nothing when `socket` is not the borrower.
  func forget(_ socket: TCPSocket) {
    guard isLent(to: socket) else { return }
    unsafe borrower = nil
    unread = 0..<0
  }
}
