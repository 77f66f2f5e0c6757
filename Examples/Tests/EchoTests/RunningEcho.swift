// SPDX-License-Identifier: Apache-2.0

import ProgramTesting

/// An EchoServer on a port of the system's choice. It ends no connection for its silence, unless options say so: a test
/// may be held up itself.
struct RunningEcho {
  let program: Program
  let port: UInt16

  /// - Parameter descriptors: how many the process may have; nil leaves that as it is.
  init(_ options: [String] = [], descriptors: Int? = nil) throws {
    program = try Program(
      "EchoServer",
      ["--address", "127.0.0.1", "--port", "0", "--first-byte", "3600", "--idle", "3600"] + options,
      descriptors: descriptors
    )
    let line = try program.nextLine() ?? ""
    guard let match = line.wholeMatch(of: /(Echo|HTTP) server is listening on 127\.0\.0\.1, port (\d+)\./),
      let port = UInt16(match.2)
    else {
      throw UnexpectedOutput(line: line)
    }
    self.port = port
  }
}
