/// A loop's one read buffer. An idle connection holds none; a read borrows this one while its handlers run.
@safe final class ScratchBuffer {
  static let size = 65536

  private let memory: UnsafeMutableRawBufferPointer
  /// The socket whose unread bytes are `unread`; it moves them away before another may read.
  private var borrower: Unmanaged<TCPSocket>?
  private(set) var unread: Range<Int> = 0..<0

  init() {
    unsafe memory = .allocate(byteCount: Self.size, alignment: 16)
  }

  deinit {
    unsafe memory.deallocate()
  }

  /// The whole buffer, for the kernel to write to. What an earlier borrower has not read is saved first.
  func take() -> UnsafeMutableRawBufferPointer {
    unsafe borrower?.takeUnretainedValue().keepLentBytes()
    return unsafe memory
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
