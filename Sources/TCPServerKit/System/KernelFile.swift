// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// Small files in which the kernel says how things are.
enum KernelFile {
  /// Why a value is not known, for a person.
  struct Unreadable: Error, Equatable {
    let reason: String
    /// Whether there is no such file.
    var isMissing = false
  }

  /// - Parameters:
  ///   - path: such as "/proc/self/limits".
  ///   - root: what comes before the path; only a test has its own.
  static func text(_ path: String, root: String) -> Result<String, Unreadable> {
    switch SystemCalls.contents(of: root + path) {
    case .success(let text): return .success(text)
    case .failure(let failure):
      let isMissing = failure.errnum == ENOENT || failure.errnum == ENOTDIR
      return .failure(Unreadable(reason: "\(path): \(failure.text)", isMissing: isMissing))
    }
  }

  /// The number that is all of a file.
  static func number(_ path: String, root: String) -> Result<Int, Unreadable> {
    text(path, root: root).flatMap { text in
      let word = text.split { $0 == " " || $0 == "\t" || $0 == "\n" }.first
      return word.flatMap { Int($0) }.map { .success($0) }
        ?? .failure(Unreadable(reason: "\(path): no number"))
    }
  }
}
