// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

@testable import TCPServerTLS

@Suite("Threads while the process exits")
struct ExitGateTests {
  private static let (begun, done, wasLate) = (Flag(), Flag(), Flag())

  private static func startThread(_ body: @escaping @Sendable () -> Void) {
    SystemThread.start(body)?.detach()
  }

  @Test("What a thread has begun is waited for before OpenSSL ends, and nothing more is begun")
  func exits() async {
    await #expect(processExitsWith: .exitCode(7)) {
      // As OpenSSL's: it is called after the gate's.
      atexit {
        var isOver = ExitGateTests.done.isSet
        ExitGateTests.startThread { ExitGate.shared.pass { ExitGateTests.wasLate.set() } }
        usleep(50_000)
        isOver = isOver && !ExitGateTests.wasLate.isSet
        _exit(isOver ? 7 : 8)
      }
      let gate = ExitGate.shared
      ExitGateTests.startThread {
        gate.pass {
          ExitGateTests.begun.set()
          usleep(50_000)
          ExitGateTests.done.set()
        }
      }
      while !ExitGateTests.begun.isSet { sched_yield() }
      exit(0)
    }
  }
}
