// SPDX-License-Identifier: Apache-2.0

import ServerProgram
import TCPServerKit

/// A thread of its own for each client.
struct ThreadPerClient: Workplace {
  func serve(_ client: Client) throws {
    try SystemThread.start { client.serve() }.detach()
  }
}

/// A fixed number of loops, each on a thread of its own, which get the clients in turn.
final class WorkerPool: Workplace {
  private struct Worker {
    let loop: EventBase
    let thread: SystemThread
  }

  private var workers: [Worker] = []
  private var next = 0

  /// - Throws: why there are not that many; those that had begun have ended then.
  init(count: Int) throws {
    do {
      for _ in 0..<count {
        let loop = try makeEventBase()
        let thread = try SystemThread.start { loop.run() }
        workers.append(Worker(loop: loop, thread: thread))
      }
    } catch {
      end()
      throw (error as? SystemThread.NoThread).map { StartFailure("\($0)") } ?? error
    }
  }

  func serve(_ client: Client) {
    let loop = workers[next].loop
    next = (next + 1) % workers.count
    loop.execute { client.serve(on: loop) }
  }

  /// Ends the threads, after what they were given before.
  func end() {
    for worker in workers {
      worker.loop.execute { worker.loop.stop() }
    }
    for worker in workers {
      worker.thread.join()
    }
    workers.removeAll()
  }
}
