// SPDX-License-Identifier: Apache-2.0

internal import CLibevent

/// The task that runs the caller, without the counting of references that Swift's own calls have for each look.
enum CurrentTask {
  /// The task's address: only compared, and only while the task lives. 0 outside of tasks. Its last bit is 0, as in the
  /// address of every object.
  @inline(__always) static var address: UInt {
    unsafe UInt(bitPattern: clibevent_current_task())
  }

  /// What `Task.isCancelled` says.
  @inline(__always) static var isCancelled: Bool {
    isCancelled(at: address)
  }

  /// - Parameter address: the calling task's, or 0.
  @inline(__always) static func isCancelled(at address: UInt) -> Bool {
    unsafe UnsafeMutableRawPointer(bitPattern: address).map { unsafe clibevent_task_is_cancelled($0) }
      ?? false
  }
}
