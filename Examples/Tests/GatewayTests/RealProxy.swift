// SPDX-License-Identifier: Apache-2.0

import Glibc
import ProgramTesting

/// A real proxy with its configuration, on a port of 127.0.0.1.
final class RealProxy {
  enum Kind: String {
    case haproxy = "/usr/sbin/haproxy"
    case nginx = "/usr/sbin/nginx"
  }

  let port: UInt16
  private let program: Program
  private let folder: TemporaryFolder

  /// Starts one and waits until it listens. Its port was free a moment ago: where another program has got that
  /// meanwhile, it is started with another one.
  ///
  /// - Parameters:
  ///   - folder: for its files; is not removed before the proxy has ended.
  ///   - configuration: of one that listens on that port.
  init(_ kind: Kind, in folder: TemporaryFolder, _ configuration: (UInt16) -> String) throws {
    let path = folder.path + "/configuration"
    let arguments =
      switch kind {
      case .haproxy: ["-db", "-f", path]
      case .nginx: ["-p", folder.path, "-e", folder.path + "/errors", "-c", path]
      }
    for _ in 0..<5 {
      guard let port = ReservedPort()?.number else { throw UnexpectedOutput(line: "no port") }
      try Self.write(configuration(port), to: path)
      let program = try Program(path: kind.rawValue, arguments)
      if try Self.comesToListen(program.process, on: port) {
        (self.port, self.program, self.folder) = (port, program, folder)
        return
      }
    }
    throw UnexpectedOutput(line: "\(kind) does not start")
  }

  deinit {
    program.send(signal: SIGTERM)
    _ = try? program.end()
  }

  private static func write(_ text: String, to path: String) throws {
    let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    let bytes = Array(text.utf8)
    guard Glibc.write(file, bytes, bytes.count) == bytes.count, close(file) == 0 else {
      throw UnexpectedOutput(line: "cannot write \(path)")
    }
  }

  /// Whether it listens there at last; false once it has ended.
  private static func comesToListen(_ process: pid_t, on port: UInt16) throws -> Bool {
    let deadline = ContinuousClock.now + Program.limit
    while !isListening(process, on: port) {
      var end = siginfo_t()
      waitid(P_PID, id_t(process), &end, WEXITED | WNOHANG | WNOWAIT)
      if end.si_signo == SIGCHLD { return false }
      guard ContinuousClock.now < deadline else { throw UnexpectedOutput(line: "\(process) does not listen") }
      usleep(1000)
    }
    return true
  }

  /// Whether the listening socket of the port is one of the process: another program may have that port.
  private static func isListening(_ process: pid_t, on port: UInt16) -> Bool {
    let local =
      ":" + String(repeating: "0", count: 4 - String(port, radix: 16).count) + String(port, radix: 16)
    let sockets = textOfFile("/proc/\(process)/net/tcp").split(separator: "\n").map {
      $0.split(separator: " ")
    }
    // In the kernel's columns the local address, the state, which is 0A for one that listens, and the inode.
    let inodes = sockets.filter { $0.count > 9 && $0[1].lowercased().hasSuffix(local) && $0[3] == "0A" }.map {
      $0[9]
    }
    return (0..<1024).contains { descriptor in
      var target = [CChar](repeating: 0, count: 64)
      let count = readlink("/proc/\(process)/fd/\(descriptor)", &target, target.count)
      let name = String(decoding: target.prefix(max(count, 0)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
      return inodes.contains { name == "socket:[\($0)]" }
    }
  }
}

/// What is in a file, up to 1 MiB of it; nothing where it cannot be read.
func textOfFile(_ path: String) -> String {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else { return "" }
  defer { close(descriptor) }
  var bytes = [UInt8](repeating: 0, count: 1 << 20)
  var length = 0
  while length < bytes.count {
    let count = bytes[length...].withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
    guard count > 0 else { break }
    length += count
  }
  return String(decoding: bytes.prefix(length), as: UTF8.self)
}
