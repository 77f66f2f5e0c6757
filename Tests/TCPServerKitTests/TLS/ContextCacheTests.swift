// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import TCPServerKit
@testable import TCPServerTLS

@Suite("What OpenSSL makes of a configuration", .enabled(if: Certificates.canBeMade))
struct ContextCacheTests {
  @Test("A hundred loops, one after the other, leave no contexts but the last, and each has had its own")
  func shrinks() async throws {
    let configuration = try Certificates.server()
    let loops = Shared<[Weak<EventEngine>]>([])
    for round in 0..<100 {
      let first = try await onLoop { base in
        loops.value.append(Weak(base.engine))
        let server = SSLServer(eventBase: base)
        try server.setSSLConfiguration(configuration)
        return try configuration.context(SSLContextCache.Use(isClient: false), for: base.engine)
      }
      let (isKept, live) = try await onLoop { base in
        // The last reference to a loop may go later, on another thread.
        let live = loops.value.count { $0.value != nil }
        loops.value.append(Weak(base.engine))
        // An event base may have the address of the one before.
        let use = SSLContextCache.Use(isClient: false)
        let isKept = try configuration.context(use, for: base.engine) === first
        // A socket's context is the one of the server on its loop.
        #expect(SSLServer(eventBase: base).loopIdentity === base.engine)
        #expect(TCPSocket(eventBase: base).loopIdentity === base.engine)
        return (isKept, live)
      }
      #expect(!isKept)
      #expect(configuration.contexts.count <= live + 1, "\(round)")
    }
  }

  @Test("Loops that are there together share no context, and a loop's connections do")
  func together() async throws {
    let configuration = try Certificates.server()
    try await onLoops { _ in
      try await onLoop { base in
        let use = SSLContextCache.Use(isClient: false)
        let mine = try configuration.context(use, for: base.engine)
        #expect(try configuration.context(use, for: base.engine) === mine)
        let others = try await onLoop { other in
          #expect(try configuration.context(use, for: base.engine) === mine)
          return try configuration.context(use, for: other.engine)
        }
        #expect(others !== mine)
        #expect(try configuration.context(SSLContextCache.Use(isClient: true), for: base.engine) !== mine)
        #expect(try configuration.context(use, for: nil) !== mine)
        #expect(try configuration.context(use, for: nil) === configuration.context(use, for: nil))
      }
    }
  }
}
