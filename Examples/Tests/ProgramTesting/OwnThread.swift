// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A thread beside those of the tests: a task that blocks would wait for one of these behind other tests. What it shares
/// with the thread that starts it is for the two to keep apart.
package final class OwnThread {
  private final class Work {
    let run: () -> Void

    init(_ run: @escaping () -> Void) {
      self.run = run
    }
  }

  private let thread: pthread_t

  package init(_ body: @escaping () -> Void) {
    var thread = pthread_t()
    let failure = pthread_create(
      &thread,
      nil,
      { context in
        if let context = context as UnsafeMutableRawPointer? {
          Unmanaged<Work>.fromOpaque(context).takeRetainedValue().run()
        }
        return nil
      },
      Unmanaged.passRetained(Work(body)).toOpaque()
    )
    precondition(failure == 0, "no thread")
    self.thread = thread
  }

  /// Waits for its end; once.
  package func join() {
    pthread_join(thread, nil)
  }

  /// Its end is not waited for; in place of ``join()``.
  package func detach() {
    pthread_detach(thread)
  }
}
