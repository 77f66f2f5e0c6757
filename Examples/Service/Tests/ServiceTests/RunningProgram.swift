// SPDX-License-Identifier: Apache-2.0

import Glibc
import ProgramTesting
import Testing

/// The example as a program of its own, on ports of the system's choice.
struct RunningProgram {
  let program: Program
  let port: UInt16
  let operationsPort: UInt16

  init(_ settings: [String] = []) throws {
    let all =
      ["PORT=0", "OPERATIONS_PORT=0", "ADDRESS=127.0.0.1", "METRICS_INTERVAL=0.1", "SHUTDOWN_DELAY=0"]
      + settings
    program = try Program(path: "/usr/bin/env", all + [Program.path(of: "Service")])
    let line = try program.nextLine() ?? ""
    guard let match = line.wholeMatch(of: /Echo on port (\d+), operations on port (\d+)\./),
      let port = UInt16(match.1), let operationsPort = UInt16(match.2)
    else {
      throw UnexpectedOutput(line: line)
    }
    self.port = port
    self.operationsPort = operationsPort
  }

  func metrics() throws -> String {
    try HTTP.get(operationsPort, "/metrics").body
  }

  /// The value of a metric, by its name and labels; nil where it is not exported.
  func metric(_ name: String) throws -> Double? {
    try metrics().split(separator: "\n").first { $0.hasPrefix(name + " ") }
      .flatMap { $0.split(separator: " ").last }.flatMap { Double($0) }
  }
}

enum HTTP {
  /// - Returns: the status and the body.
  static func get(_ port: UInt16, _ path: String) throws -> (status: Int, body: String) {
    guard let client = Connection(port: port) else { throw UnexpectedOutput(line: "nothing listens") }
    client.send(Array("GET \(path) HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".utf8))
    let answer = String(decoding: client.receiveToEnd() ?? [], as: UTF8.self)
    let status = answer.split(separator: " ").dropFirst().first.flatMap { Int($0) }
    guard let status, let head = answer.firstRange(of: "\r\n\r\n") else {
      throw UnexpectedOutput(line: answer)
    }
    return (status, String(answer[head.upperBound...]))
  }
}

/// Clients one after the other, from several addresses: those of one have no further ports for a minute.
func serveClients(_ count: Int, port: UInt16) -> Int {
  let line = Array("ping\n".utf8)
  var answered = 0
  for index in 0..<count {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    let client = Connection(descriptor: descriptor)
    guard connect(descriptor, to: port, fromHost: UInt8(2 + index % 8)), client.send(line),
      client.receive(line.count) == line
    else { continue }
    answered += 1
  }
  return answered
}

private func connect(_ descriptor: Int32, to port: UInt16, fromHost host: UInt8) -> Bool {
  var one: Int32 = 1
  // IP_BIND_ADDRESS_NO_PORT: a port is chosen when it is known where to.
  setsockopt(descriptor, 0, 24, &one, socklen_t(MemoryLayout<Int32>.size))
  func address(_ text: String, _ port: UInt16) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = inet_addr(text)
    return address
  }
  func with(_ address: sockaddr_in, _ call: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Bool {
    var address = address
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        call($0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
  }
  return with(address("127.0.0.\(host)", 0)) { bind(descriptor, $0, $1) }
    && with(address("127.0.0.1", port)) { Glibc.connect(descriptor, $0, $1) }
}
