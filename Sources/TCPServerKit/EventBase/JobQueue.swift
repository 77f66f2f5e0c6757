// SPDX-License-Identifier: Apache-2.0

/// The jobs of a loop's own thread, first in, first out.
///
/// A ring in memory of its own, and not an array: each access to an array that is a class's property costs a check
/// at run time, and there are two for each job.
@safe final class JobQueue {
  private var memory: UnsafeMutablePointer<Job>
  /// A power of two, less one.
  private var mask = 255
  private var head = 0
  private(set) var count = 0

  init() {
    unsafe memory = .allocate(capacity: mask + 1)
  }

  deinit {
    while popFirst() != nil {}
    unsafe memory.deallocate()
  }

  func append(_ job: Job) {
    if count > mask {
      grow()
    }
    unsafe (memory + (head + count) & mask).initialize(to: job)
    count += 1
  }

  func popFirst() -> Job? {
    guard count > 0 else { return nil }
    let job = unsafe (memory + head).move()
    head = (head + 1) & mask
    count -= 1
    return job
  }

  private func grow() {
    let larger = UnsafeMutablePointer<Job>.allocate(capacity: (mask + 1) * 2)
    let first = mask + 1 - head
    unsafe larger.moveInitialize(from: memory + head, count: first)
    unsafe (larger + first).moveInitialize(from: memory, count: head)
    unsafe memory.deallocate()
    unsafe memory = larger
    mask = mask * 2 + 1
    head = 0
  }
}
