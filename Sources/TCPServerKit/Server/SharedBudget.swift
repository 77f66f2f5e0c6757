// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// How many connections the servers of a group may have together that accept each for itself.
///
/// `@unchecked Sendable` because of this invariant: it is a pointer to what any thread may use.
@safe final class SharedBudget: @unchecked Sendable {
  let pointer: OpaquePointer

  /// Nil where memory is short.
  init?() {
    guard let pointer = unsafe csc_budget_new(-1) else { return nil }
    unsafe self.pointer = pointer
  }

  deinit {
    unsafe csc_budget_free(pointer)
  }

  /// Whether there are connections.
  var isInUse: Bool {
    unsafe csc_budget_taken(pointer) > 0
  }

  /// - Parameter limit: less than 0 for none.
  func setLimit(_ limit: CInt, _ excess: csc_excess) {
    unsafe csc_budget_set_limit(pointer, limit, excess)
  }
}
