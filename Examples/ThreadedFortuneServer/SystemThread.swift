// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A thread of the operating system. Not Foundation's, which does not say when there is none to be had.
struct SystemThread {
  private let handle: pthread_t

  /// Starts a thread that runs `body`.
  ///
  /// - Throws: why there is none; `body` is released then and does not run.
  static func start(_ body: @escaping @Sendable () -> Void) throws(NoThread) -> SystemThread {
    var handle = pthread_t()
    let work = Unmanaged.passRetained(Work(body: body))
    let failure = pthread_create(
      &handle,
      nil,
      { work in
        if let work {
          Unmanaged<Work>.fromOpaque(work).takeRetainedValue().body()
        }
        return nil
      },
      work.toOpaque()
    )
    guard failure == 0 else {
      work.release()
      throw NoThread(errnum: failure)
    }
    return SystemThread(handle: handle)
  }

  /// Lets the thread end by itself. Either this or `join` is called, once.
  func detach() {
    pthread_detach(handle)
  }

  /// Waits for the thread's end.
  func join() {
    pthread_join(handle, nil)
  }

  struct NoThread: Error, CustomStringConvertible {
    var errnum: CInt

    var description: String {
      "no thread to be had: \(String(cString: strerror(errnum)))"
    }
  }

  private final class Work: Sendable {
    let body: @Sendable () -> Void

    init(body: @escaping @Sendable () -> Void) {
      self.body = body
    }
  }
}
