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
  ///
  /// - Parameter descriptors: how many it may have; nil leaves that as it is.
  static func gateway(
    to backends: [UInt16],
    _ options: [String] = [],
    descriptors: Int? = nil
  ) throws -> Listening {
    let places = backends.flatMap { ["--backend", "127.0.0.1:\($0)"] }
    return try Listening(
      "Gateway",
      ["--listen", "127.0.0.1:0"] + places + options,
      descriptors: descriptors
    )
  }

  init(_ name: String, _ arguments: [String], descriptors: Int? = nil) throws {
    program = try Program(name, arguments, descriptors: descriptors)
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
