// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// The programs from elsewhere that the tests run: peers, a tracker, and what makes torrent files.
enum Tools {
  static let aria = "/usr/bin/aria2c"
  static let tracker = "/usr/bin/opentracker"
  static let maker = "/usr/bin/mktorrent"
  /// Debian's, for it is there that Debian puts libtorrent's module.
  static let python = "/usr/bin/python3"

  static let areInstalled = [aria, tracker, maker].allSatisfy { (path: String) in access(path, X_OK) == 0 }
  static let libtorrentIsInstalled = !Glob.paths("/usr/lib/python3/dist-packages/libtorrent*").isEmpty
  static let isOnCI = ProcessInfo.processInfo.environment["CI"] != nil
}

/// Where a test may go without them: not on a CI machine.
extension Trait where Self == ConditionTrait {
  static var needsTools: Self {
    .enabled(if: Tools.isOnCI || Tools.areInstalled, "aria2c, opentracker or mktorrent is not installed")
  }

  static var needsLibtorrent: Self {
    .enabled(
      if: Tools.isOnCI || (Tools.areInstalled && Tools.libtorrentIsInstalled),
      "mktorrent or python3-libtorrent is not installed"
    )
  }
}

enum Glob {
  /// The paths that a shell's pattern matches.
  static func paths(_ pattern: String) -> [String] {
    var found = glob_t()
    defer { globfree(&found) }
    guard glob(pattern, 0, nil, &found) == 0 else { return [] }
    return (0..<Int(found.gl_pathc)).compactMap { found.gl_pathv[$0].map { String(cString: $0) } }
  }
}

/// What was to happen within a time, and did not.
struct NotInTime: Error {
  var what: String
}

/// Asks again and again until it is so. For what has no notification.
func wait(
  until what: String,
  within limit: Duration = .seconds(60),
  _ isSo: () throws -> Bool
) throws {
  let deadline = ContinuousClock.now + limit
  while try !isSo() {
    guard .now < deadline else { throw NotInTime(what: what) }
    poll(nil, 0, 20)
  }
}
