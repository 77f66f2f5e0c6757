// SPDX-License-Identifier: Apache-2.0

import ProgramTesting

/// A NIOHandoff on a port of the system's choice.
struct RunningHandoff {
  let program: Program
  let port: UInt16

  init(_ options: [String]) throws {
    program = try Program("NIOHandoff", ["--port", "0"] + options)
    let line = try program.nextLine() ?? ""
    guard let match = line.wholeMatch(of: /Listening on 127\.0\.0\.1, port (\d+), for SwiftNIO\./),
      let port = UInt16(match.1)
    else {
      throw UnexpectedOutput(line: line)
    }
    self.port = port
  }

  /// Connects, has the bytes echoed, and keeps the connection.
  func echo(_ bytes: [UInt8]) -> Connection? {
    guard let client = Connection(port: port), client.send(bytes), client.receive(bytes.count) == bytes else {
      return nil
    }
    return client
  }
}
