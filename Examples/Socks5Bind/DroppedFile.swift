// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A file on its way in. It gets its name when it is complete and on the disk; what goes wrong before leaves nothing.
///
/// A server that is killed leaves its part of a file behind, as .drop-….part, which was never complete.
final class DroppedFile {
  private let folder: DropFolder
  private let partPath: String
  private var descriptor: CInt

  init(in folder: DropFolder) throws(FileFailure) {
    let number = UInt64.random(in: .min ... .max)
    let path = "\(folder.path)/.drop-\(String(number, radix: 36)).part"
    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw FileFailure("Making a file") }
    self.folder = folder
    partPath = path
    self.descriptor = descriptor
  }

  deinit {
    if descriptor >= 0 { close(descriptor) }
    // Also of the file that was stored, which has another name by then.
    unlink(partPath)
  }

  func append(_ bytes: [UInt8]) throws(FileFailure) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let written = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
      guard written > 0 else { throw FileFailure("Writing") }
      rest = rest.dropFirst(written)
    }
  }

  /// Gives the file its name, once it is on the disk. Blocks for as long as the disk takes.
  ///
  /// - Returns: the name.
  /// - Throws: when any of the steps fails; then there is no file.
  func store() throws(FileFailure) -> String {
    guard fsync(descriptor) == 0 else { throw FileFailure("Writing to the disk") }
    let closed = close(descriptor)
    descriptor = -1
    guard closed == 0 else { throw FileFailure("Closing") }
    var name = folder.nextName()
    // Unlike rename(2), this replaces no file that another program made meanwhile.
    while link(partPath, "\(folder.path)/\(name)") != 0 {
      guard errno == EEXIST else { throw FileFailure("Naming") }
      name = folder.nextName()
    }
    do throws(FileFailure) {
      try writeFolder()
    } catch {
      unlink("\(folder.path)/\(name)")
      throw error
    }
    return name
  }

  /// Without this a file may have lost its name after a power failure.
  private func writeFolder() throws(FileFailure) {
    let opened = open(folder.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    defer { if opened >= 0 { close(opened) } }
    guard opened >= 0, fsync(opened) == 0 else { throw FileFailure("Writing the folder to the disk") }
  }
}
