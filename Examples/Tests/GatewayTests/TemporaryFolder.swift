// SPDX-License-Identifier: Apache-2.0

import Glibc
import ProgramTesting

/// A folder for the files and sockets of a test, which is gone with them at its end.
final class TemporaryFolder {
  let path: String

  init() throws {
    var template = Array("/tmp/tcpserverkit.XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw UnexpectedOutput(line: "no temporary folder") }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit {
    for name in ["configuration", "errors", "pid", "socket", "dump"] { unlink("\(path)/\(name)") }
    rmdir(path)
  }
}
