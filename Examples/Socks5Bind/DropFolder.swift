// SPDX-License-Identifier: Apache-2.0

import Glibc
import Synchronization

/// The folder that files are dropped into, as drop-1, drop-2 and so on.
final class DropFolder: Sendable {
  let path: String
  private let lastNumber: Mutex<Int>

  /// Looks once for the names that are taken.
  ///
  /// - Throws: when that is no folder that can be read.
  init(path: String) throws(FileFailure) {
    self.path = path
    guard let folder = opendir(path) else { throw FileFailure("Opening the folder") }
    defer { closedir(folder) }
    var last = 0
    while let entry = readdir(folder) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      guard name.hasPrefix("drop-"), let number = Int(name.dropFirst(5)) else { continue }
      last = max(last, number)
    }
    lastNumber = Mutex(last)
  }

  /// A name that was not given before. Another program may have made a file of that name all the same.
  func nextName() -> String {
    lastNumber.withLock { number in
      number += 1
      return "drop-\(number)"
    }
  }
}

/// What the system refused, and why.
struct FileFailure: Error, CustomStringConvertible {
  let description: String

  /// To be made right after the call that failed.
  init(_ action: String) {
    description = "\(action): \(String(cString: strerror(errno)))"
  }
}
