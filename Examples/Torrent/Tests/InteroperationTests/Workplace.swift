// SPDX-License-Identifier: Apache-2.0

import Foundation
import ProgramTesting

/// A folder that goes with all that is in it.
final class Workplace {
  let path: String

  init() throws {
    var template = Array("/tmp/tcpserverkit-torrent.XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw UnexpectedOutput(line: "no temporary folder") }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    // opentracker, started by root, reads its files as nobody.
    chmod(path, 0o755)
  }

  deinit {
    try? FileManager.default.removeItem(atPath: path)
  }

  /// A new folder in it.
  func folder(_ name: String) throws -> String {
    let folder = path + "/" + name
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    return folder
  }

  /// Writes a file and makes the folders it is in.
  @discardableResult
  func write(_ bytes: some Collection<UInt8>, to name: String) throws -> String {
    let file = path + "/" + name
    try FileManager.default.createDirectory(
      atPath: (file as NSString).deletingLastPathComponent,
      withIntermediateDirectories: true
    )
    try Data(bytes).write(to: URL(fileURLWithPath: file))
    return file
  }

  /// Every file below a folder of it, by its path from there.
  func files(below name: String) -> [String] {
    let all = FileManager.default.enumerator(atPath: path + "/" + name)
    var isFolder = ObjCBool(false)
    return (all?.allObjects as? [String] ?? []).filter {
      FileManager.default.fileExists(atPath: path + "/" + name + "/" + $0, isDirectory: &isFolder)
        && !isFolder.boolValue
    }.sorted()
  }
}
