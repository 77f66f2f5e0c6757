// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerTLS
import Testing

@Suite("Threads while the process exits", .enabled(if: Certificates.canBeMade))
struct ExitTests {
  /// Bytes and not files: those are removed at exit.
  private static func read(_ name: String) throws -> [UInt8] {
    let path = try #require(Certificates.shared).folder.path + "/localhost." + name
    let file = unsafe try #require(fopen(path, "r"))
    defer { unsafe fclose(file) }
    var bytes = [UInt8](repeating: 0, count: 16384)
    let count = unsafe fread(&bytes, 1, bytes.count, file)
    return Array(bytes[..<count])
  }

  @Test("What OpenSSL shares stays until the end: threads that use it do not crash", arguments: 0..<4)
  func exits(_: Int) async {
    await #expect(processExitsWith: .exitCode(7)) {
      let (certificate, key) = (try Self.read("pem"), try Self.read("key"))
      let begun = Counter()
      for _ in 0..<3 {
        OtherThread {
          while true {
            _ = try? SSLIdentity(certificate: certificate, key: key)
            begun.increment()
          }
        }.detach()
      }
      while begun.value < 100 { sched_yield() }
      exit(7)
    }
  }
}
