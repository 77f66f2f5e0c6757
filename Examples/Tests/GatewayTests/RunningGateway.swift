// SPDX-License-Identifier: Apache-2.0

import Glibc
import ProgramTesting
import Testing

/// A program that says where it listens in its first line.
struct Listening {
  let program: Program
  let port: UInt16

  /// A server that sends back what it gets: of a gateway that sends PROXY headers, these, too. It never ends a connection
  /// for its silence.
  static func echo() throws -> Listening {
    let patience = ["--first-byte", "3600", "--idle", "3600"]
    return try Listening("EchoServer", ["--address", "127.0.0.1", "--port", "0"] + patience)
  }

  /// A gateway on a port of 127.0.0.1, and before these backends.
  static func gateway(to backends: [UInt16], _ options: [String] = []) throws -> Listening {
    let places = backends.flatMap { ["--backend", "127.0.0.1:\($0)"] }
    return try Listening("Gateway", ["--listen", "127.0.0.1:0"] + places + options)
  }

  init(_ name: String, _ arguments: [String]) throws {
    program = try Program(name, arguments)
    let line = try program.nextLine() ?? ""
    guard let match = line.wholeMatch(of: /.+ is listening on 127\.0\.0\.1, port (\d+)\./),
      let port = UInt16(match.1)
    else { throw UnexpectedOutput(line: line) }
    self.port = port
  }

  /// Ends it; what it prints then.
  func stop() throws -> String {
    program.send(signal: SIGTERM)
    let end = try program.end()
    #expect(end.status == 0 && end.errors.isEmpty, "\(end)")
    return end.output
  }
}

/// Real programs, their configuration and their sockets, all gone at the end.
final class RealProxy {
  enum Kind: String {
    case haproxy = "/usr/sbin/haproxy"
    case nginx = "/usr/sbin/nginx"
  }

  let folder: String
  private var program: Program?

  init() throws {
    var template = Array("/tmp/tcpserverkit.XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw UnexpectedOutput(line: "no temporary folder") }
    folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit {
    program?.send(signal: SIGTERM)
    _ = try? program?.end()
    for name in ["configuration", "errors", "pid", "socket", "dump"] { unlink("\(folder)/\(name)") }
    rmdir(folder)
  }

  /// Starts one that listens on a port; ready when that answers.
  func start(_ kind: Kind, on port: UInt16, _ configuration: String) throws {
    let path = folder + "/configuration"
    let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    let bytes = Array(configuration.utf8)
    guard write(file, bytes, bytes.count) == bytes.count, close(file) == 0 else {
      throw UnexpectedOutput(line: "cannot write \(path)")
    }
    let arguments =
      switch kind {
      case .haproxy: ["-db", "-f", path]
      case .nginx: ["-p", folder, "-e", folder + "/errors", "-c", path]
      }
    program = try Program(path: kind.rawValue, arguments)
    let deadline = ContinuousClock.now + Program.limit
    while Connection(port: port) == nil {
      guard ContinuousClock.now < deadline else { throw UnexpectedOutput(line: "\(kind) does not start") }
      usleep(1000)
    }
  }
}

extension Connection {
  /// A client of a server at a path; nil when nothing listens there.
  convenience init?(path: String) {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    self.init(descriptor: descriptor)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let connected = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard connected == 0 else { return nil }
  }

  /// Sends a byte and ends its side; what comes back.
  func exchange() -> String? {
    send([UInt8(ascii: "!")])
    endSending()
    return receiveToEnd().map { String(decoding: $0, as: UTF8.self) }
  }
}
