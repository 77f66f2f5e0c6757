// SPDX-License-Identifier: Apache-2.0

import ProgramTesting

/// A Fortune Server of either kind, on a port of the system's choice.
struct RunningServer {
  let program: Program
  let port: UInt16

  init(_ options: [String] = [], program name: String = "FortuneServer") throws {
    program = try Program(name, ["--address", "127.0.0.1", "--port", "0"] + options)
    let line = try program.nextLine() ?? ""
    guard let match = line.wholeMatch(of: /The server is running on 127\.0\.0\.1, port (\d+)\./),
      let port = UInt16(match.1)
    else {
      throw UnexpectedOutput(line: line)
    }
    self.port = port
  }
}
