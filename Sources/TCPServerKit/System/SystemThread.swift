// SPDX-License-Identifier: Apache-2.0

internal import CLibevent
internal import Glibc

/// A thread of the operating system, to be joined or detached once.
package struct SystemThread {
  private let handle: pthread_t

  /// Starts a thread that runs `body`; nil when the system has no room for one, and `body` will not run.
  package static func start(_ body: @escaping @Sendable () -> Void) -> SystemThread? {
    var handle = pthread_t()
    let context = unsafe Unmanaged.passRetained(Body(run: body))
    let failed = unsafe pthread_create(
      &handle,
      nil,
      { context in
        if let context = unsafe context as UnsafeMutableRawPointer? {
          unsafe Unmanaged<Body>.fromOpaque(context).takeRetainedValue().run()
        }
        return nil
      },
      context.toOpaque()
    )
    guard failed == 0 else {
      unsafe context.release()
      return nil
    }
    return SystemThread(handle: handle)
  }

  /// Whether the caller is on the process's first thread.
  static var isMain: Bool {
    clibevent_thread_number() == Int(getpid())
  }

  package func detach() {
    pthread_detach(handle)
  }

  func join() {
    pthread_join(handle, nil)
  }

  private final class Body: Sendable {
    let run: @Sendable () -> Void

    init(run: @escaping @Sendable () -> Void) {
      self.run = run
    }
  }
}
