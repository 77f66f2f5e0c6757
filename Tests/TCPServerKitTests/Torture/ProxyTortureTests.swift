// SPDX-License-Identifier: Apache-2.0

import FaultInjection
import Glibc
import TCPServerKit
import Testing

/// Each system call on the way through a proxy fails in its turn, once.
@Suite("Listening through a proxy: every call fails", .blocking, .timeLimit(.minutes(5)))
struct ProxyTortureTests {
  static let faults: [(fault_call, CInt)] = [
    (FAULT_SOCKET, EMFILE), (FAULT_SOCKET, ENFILE), (FAULT_SOCKET, ENOBUFS), (FAULT_CONNECT, ENETUNREACH),
    (FAULT_CONNECT, ECONNREFUSED), (FAULT_CONNECT, EADDRNOTAVAIL), (FAULT_CONNECT, EINTR),
    (FAULT_SEND, EAGAIN),
    (FAULT_SEND, EINTR), (FAULT_SEND, EPIPE), (FAULT_SEND, ECONNRESET), (FAULT_SEND, ENOBUFS),
    (FAULT_RECV, EAGAIN),
    (FAULT_RECV, EINTR), (FAULT_RECV, ECONNRESET), (FAULT_RECV, ETIMEDOUT), (FAULT_RECV, ENOMEM),
    (FAULT_GETSOCKOPT, ENOBUFS), (FAULT_SETSOCKOPT, ENOPROTOOPT), (FAULT_POLL, EINTR), (FAULT_POLL, ENOMEM),
    (FAULT_EPOLL_CTL, ENOMEM), (FAULT_EPOLL_CTL, ENOSPC),
  ]

  @Test(
    "The peer comes in the end, or listen() says why not and can be called again; nothing stays open",
    arguments: faults,
    [true, false]
  )
  func once(_ fault: (call: fault_call, errnum: CInt), _ hasLoop: Bool) throws {
    defer { fault_clear() }
    var reached = 0
    for nth in 1...20 {
      let loop = try Loop()
      let first = ScriptedProxy.binds() + [.send(ScriptedProxy.reply())]
      // However often it is asked, for whichever port.
      let again: [ScriptedProxy.Step] = [
        .send([5, 0] + ScriptedProxy.reply([1, 2, 3, 4], port: 1286) + ScriptedProxy.reply())
      ]
      let proxy = ScriptedProxy(first, again, again, again)
      let server = TCPServer(eventBase: hasLoop ? loop.base : nil)
      server.proxy = proxy.proxy
      fault_reset_counts()
      fault_fail(fault.call, CInt(nth), 1, fault.errnum)
      if !server.listen() {
        #expect(!server.errorString.isEmpty)
        #expect(server.socketDescriptor == -1)
        try #require(server.listen(), "\(nth): \(server.errorString)")
      }
      if hasLoop {
        try #require(loop.run { server.hasPendingConnections }, "\(nth): \(server.errorString)")
      } else {
        // A wait says what has failed, and the next one goes on.
        var waits = 0
        while !server.waitForNewConnection(msec: 2000) && waits < 5 { waits += 1 }
      }
      let happened = fault_failures(fault.call)
      fault_clear()
      try #require(server.nextPendingConnection()?.peerPort == 4660, "\(nth): \(server.errorString)")
      server.close()
      let opened = fault_calls(FAULT_SOCKET) - fault_failures(FAULT_SOCKET)
      #expect(fault_calls(FAULT_CLOSE) == opened, "\(nth)")
      #expect(fault_bad_closes() == 0)
      expectBalanced(server)
      if happened == 0 { break }
      reached = nth
    }
    #expect(reached > 0 || fault.call == FAULT_EPOLL_CTL && !hasLoop, "the call is made at all")
    #expect(reached < 20, "all of its places were reached")
  }
}
