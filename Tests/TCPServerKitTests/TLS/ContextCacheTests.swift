// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

@testable import TCPServerTLS

@Suite("What OpenSSL makes of a configuration", .enabled(if: Certificates.canBeMade))
struct ContextCacheTests {
  @Test("A hundred loops, one after the other, leave one context, and each has had its own")
  func shrinks() async throws {
    let configuration = try Certificates.server()
    for round in 0..<100 {
      let first = try await onLoop { base in
        let server = SSLServer(eventBase: base)
        try server.setSSLConfiguration(configuration)
        return try configuration.context(SSLContextCache.Use(isClient: false), for: base)
      }
      let isKept = try await onLoop { base in
        // An event base may have the address of the one before.
        try configuration.context(SSLContextCache.Use(isClient: false), for: base) === first
      }
      #expect(!isKept)
      #expect(configuration.contexts.count == 1, "\(round)")
    }
  }

  @Test("Loops that are there together share no context, and a loop's connections do")
  func together() async throws {
    let configuration = try Certificates.server()
    try await onLoops { _ in
      try await onLoop { base in
        let use = SSLContextCache.Use(isClient: false)
        let mine = try configuration.context(use, for: base)
        #expect(try configuration.context(use, for: base) === mine)
        let others = try await onLoop { other in
          #expect(try configuration.context(use, for: base) === mine)
          return try configuration.context(use, for: other)
        }
        #expect(others !== mine)
        #expect(try configuration.context(SSLContextCache.Use(isClient: true), for: base) !== mine)
        #expect(try configuration.context(use, for: nil) !== mine)
        #expect(try configuration.context(use, for: nil) === configuration.context(use, for: nil))
      }
    }
  }
}
