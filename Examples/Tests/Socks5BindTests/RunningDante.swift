// SPDX-License-Identifier: Apache-2.0

import Glibc
import ProgramTesting

/// Dante's SOCKS5 server on a port of 127.0.0.1.
final class RunningDante {
  static let path = "/usr/sbin/danted"

  /// Where a test may go without it: not on a CI machine.
  static var isWanted: Bool {
    access(path, X_OK) == 0 || getenv("CI") != nil
  }

  let port: UInt16
  private let program: Program

  private init(_ program: Program, port: UInt16) {
    self.program = program
    self.port = port
  }

  deinit {
    // With the children that it has.
    program.send(signal: SIGTERM)
    _ = try? program.end()
  }

  /// Starts one on a port that is free: below those that the kernel hands out, and another where it is taken.
  static func start(in folder: TemporaryFolder) throws -> RunningDante {
    for _ in 0..<10 {
      let port = UInt16.random(in: 20_000..<32_000)
      let configuration = folder.path + "/danted.conf"
      try folder.write(
        """
        logoutput: stdout
        internal: 127.0.0.1 port = \(port)
        external: 127.0.0.1
        clientmethod: none
        socksmethod: none
        user.privileged: \(userName)
        user.unprivileged: \(userName)
        client pass { from: 127.0.0.0/8 to: 0.0.0.0/0 }
        socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 command: bind connect bindreply }

        """,
        to: "danted.conf"
      )
      let program = try Program(path: path, ["-f", configuration, "-p", folder.path + "/pid"])
      while let line = try program.nextLine() {
        if line.contains("running") { return RunningDante(program, port: port) }
      }
    }
    throw UnexpectedOutput(line: "\(path) does not start")
  }

  private static var userName: String {
    getpwuid(getuid()).map { String(cString: $0.pointee.pw_name) } ?? "root"
  }
}

/// A folder that goes with all that is in it.
final class TemporaryFolder {
  let path: String

  init() throws {
    var template = Array("/tmp/tcpserverkit.XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw UnexpectedOutput(line: "no temporary folder") }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit {
    for name in names { unlink(path + "/" + name) }
    rmdir(path)
  }

  var names: [String] {
    guard let folder = opendir(path) else { return [] }
    defer { closedir(folder) }
    var names: [String] = []
    while let entry = readdir(folder) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  /// The bytes in all files.
  var size: Int {
    names.reduce(0) { sum, name in
      var status = stat()
      return stat(path + "/" + name, &status) == 0 ? sum + Int(status.st_size) : sum
    }
  }

  func write(_ text: String, to name: String) throws {
    let descriptor = open(path + "/" + name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    defer { close(descriptor) }
    let bytes = Array(text.utf8)
    guard Glibc.write(descriptor, bytes, bytes.count) == bytes.count else {
      throw UnexpectedOutput(line: "cannot write \(name)")
    }
  }

  func contents(of name: String) -> [UInt8] {
    let descriptor = open(path + "/" + name, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return [] }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65536)
    while case let count = read(descriptor, &chunk, chunk.count), count > 0 { bytes += chunk[..<count] }
    return bytes
  }
}
