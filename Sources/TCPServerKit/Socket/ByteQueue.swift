// SPDX-License-Identifier: Apache-2.0

/// Bytes waiting to be read or sent, in one piece of memory. Exists only while there are any.
@safe final class ByteQueue {
  private var memory: UnsafeMutableRawBufferPointer
  private var head = 0
  private(set) var count = 0
  /// Of an output to which a task's write has yet to add: what was written meanwhile, and comes after that.
  var following: ByteQueue?
  /// Of an input: so many bytes at the front are known to hold no newline.
  var searched = 0

  init(capacity: Int = 4096) {
    unsafe memory = .allocate(byteCount: max(capacity, 64), alignment: 16)
  }

  deinit {
    unsafe memory.deallocate()
  }

  var bytes: UnsafeRawBufferPointer {
    unsafe UnsafeRawBufferPointer(rebasing: memory[head..<head + count])
  }

  func append(_ bytes: UnsafeRawBufferPointer) {
    let room = unsafe reserve(bytes.count)
    unsafe room.copyMemory(from: bytes)
    count += bytes.count
  }

  /// Memory for at least `additional` more bytes; ``didAppend(_:)`` then says how many were written.
  func reserve(_ additional: Int) -> UnsafeMutableRawBufferPointer {
    if unsafe head + count + additional > memory.count {
      // Moving down is enough where it frees half; else a move at each append would cost a copy each.
      if unsafe count + additional <= memory.count / 2 {
        unsafe memory.copyMemory(from: bytes)
      } else {
        let larger = unsafe UnsafeMutableRawBufferPointer.allocate(
          byteCount: max(memory.count * 2, count + additional),
          alignment: 16
        )
        unsafe larger.copyMemory(from: bytes)
        unsafe memory.deallocate()
        unsafe memory = larger
      }
      head = 0
    }
    return unsafe UnsafeMutableRawBufferPointer(rebasing: memory[(head + count)...])
  }

  func didAppend(_ bytes: Int) {
    count += bytes
  }

  /// Takes back what was appended last.
  func dropLast(_ bytes: Int) {
    count -= bytes
  }

  func consume(_ bytes: Int) {
    head += bytes
    count -= bytes
    searched = max(searched - bytes, 0)
  }
}
