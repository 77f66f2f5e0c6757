// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

@testable import TCPServerTLS

@Suite("Logs of secrets", .enabled(if: Certificates.canBeMade))
struct KeyLogTests {
  private static func mode(of path: String) -> mode_t? {
    var status = stat()
    return unsafe stat(path, &status) == 0 ? status.st_mode & 0o777 : nil
  }

  private static func lines(of path: String) -> [Substring] {
    guard let file = unsafe fopen(path, "re") else { return [] }
    defer { unsafe fclose(file) }
    var text = ""
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
      let count = unsafe fread(&buffer, 1, buffer.count, file)
      guard count > 0 else { break }
      text += String(decoding: buffer[..<count], as: UTF8.self)
    }
    #expect(text.isEmpty || text.last == "\n")
    return text.split(separator: "\n")
  }

  @Test("Secrets are appended to a file that its owner alone may read, in whole lines of all loops")
  func appended() async throws {
    let folder = try TemporaryFolder()
    let path = folder.path(of: "keys")
    var configuration = try Certificates.server()
    configuration.keyLogFile = path
    try await onLoops { [configuration] group in
      let server = TCPServerGroup(on: group, distribution: .roundRobin, stallLimit: nil, tls: configuration) {
        $0.handshakeTimeout = Loop.limit
      }
      try await whileServing(server, handler: echo) {
        let port = server.serverPort
        try await onLoop { _ in
          for version in [SSLVersion.tls13, .tls13, .tls12, .tls12] {
            let client = try await encryptedClient(port: port) { $0.maximumVersion = version }
            try await client.write("x")
            _ = try await client.read(exactly: 1)
          }
        }
      }
    }
    #expect(Self.mode(of: path) == 0o600)
    let lines = Self.lines(of: path)
    let labels = lines.map { $0.prefix { $0 != " " } }
    for label in [
      "CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0",
      "SERVER_TRAFFIC_SECRET_0", "CLIENT_RANDOM",
    ] {
      #expect(labels.filter { $0 == label }.count == 2, "\(label)")
    }
    // Label, random number of the client, secret.
    #expect(lines.allSatisfy { $0.split(separator: " ").map(\.count).dropFirst().allSatisfy { $0 >= 64 } })
    #expect(lines.allSatisfy { $0.split(separator: " ").count == 3 })
  }

  @Test("Without the property nothing is written, whatever the environment says")
  func environment() async throws {
    await #expect(processExitsWith: .success) {
      let folder = try TemporaryFolder()
      let path = folder.path(of: "keys")
      unsafe setenv("SSLKEYLOGFILE", path, 1)
      try await onLoop { _ in
        _ = try await whileServingEncrypted(handler: echo) { server in
          let client = try await encryptedClient(of: server)
          try await client.write("x")
          _ = try await client.read(exactly: 1)
        }
      }
      #expect(KeyLogTests.mode(of: path) == nil)
    }
  }

  @Test("A file that others may read, one that is none, and one that cannot be opened, are refused")
  func refused() throws {
    let folder = try TemporaryFolder()
    let path = folder.path(of: "keys")
    var configuration = try Certificates.server()
    let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
    close(descriptor)
    configuration.keyLogFile = path
    try configuration.checkForServer()
    try configuration.checkForClient()
    unsafe chmod(path, 0o644)
    let open = SSLError(.configuration, "The key log is not a file of this user alone (mode 0600, one name)")
    #expect(throws: open) { try configuration.checkForServer() }
    unsafe chmod(path, 0o600)
    if geteuid() == 0 {
      unsafe chown(path, 1, 0)
      #expect(throws: open) { try configuration.checkForServer() }
      unsafe chown(path, 0, 0)
    }
    let other = folder.path(of: "other")
    unsafe link(path, other)
    #expect(throws: open) { try configuration.checkForServer() }
    unsafe unlink(other)
    try configuration.checkForServer()
    unsafe symlink(path, other)
    configuration.keyLogFile = other
    #expect(throws: SSLError.self) { try configuration.checkForServer() }
    unsafe unlink(other)
    configuration.keyLogFile = "/dev/null"
    #expect(throws: open) { try configuration.checkForServer() }
    configuration.keyLogFile = folder.path + "/none/keys"
    #expect(throws: SSLError(.configuration, "The key log cannot be opened: No such file or directory")) {
      try configuration.checkForServer()
    }
    configuration.keyLogFile = path + "\0"
    #expect(throws: SSLError(.configuration, "The name of the key log has a NUL in it")) {
      try configuration.checkForServer()
    }
  }

  @Test("A line that cannot be written whole is the last one")
  func fullDisk() async throws {
    await #expect(processExitsWith: .success) {
      let folder = try TemporaryFolder()
      let path = folder.path(of: "keys")
      signal(SIGXFSZ, SIG_IGN)
      var limit = rlimit(rlim_cur: 15, rlim_max: 15)
      unsafe setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
      let log = try SSLKeyLog(path: path)
      unsafe log.append("0123456789")
      unsafe log.append("abcdefghij")
      unsafe log.append("k")
      #expect(KeyLogTests.lines(ofBroken: path) == "0123456789\nabcd")
    }
  }

  private static func lines(ofBroken path: String) -> String {
    guard let file = unsafe fopen(path, "re") else { return "" }
    defer { unsafe fclose(file) }
    var buffer = [UInt8](repeating: 0, count: 100)
    let count = unsafe fread(&buffer, 1, buffer.count, file)
    return String(decoding: buffer[..<count], as: UTF8.self)
  }
}
