// SPDX-License-Identifier: Apache-2.0

import Glibc

/// The files of a torrent, as one row of bytes. Each user has one of their own; the files are the same.
package final class Storage {
  private enum Access {
    case reading
    case writing
  }

  private struct OpenFile {
    var descriptor: CInt
    var access: Access
  }

  /// How many files are open at once.
  private static let mostOpen = 32

  private let folder: String
  private let files: [Metainfo.File]
  /// Where each file begins.
  private let offsets: [Int]
  private var open: [Int: OpenFile] = [:]

  package init(metainfo: Metainfo, folder: String) {
    self.folder = folder
    files = metainfo.files
    var end = 0
    offsets = files.map { file in
      defer { end += file.length }
      return end
    }
  }

  deinit {
    for file in open.values {
      close(file.descriptor)
    }
  }

  /// Makes the empty files, which nothing will ever write to, and sees that none of the others is another file.
  package func prepare() throws(StorageError) {
    for index in files.indices {
      if let length = lengthOnDisk(index), length > files[index].length {
        throw StorageError("\(printable(path(index))) is longer than the torrent says: \(length) bytes")
      }
      if files[index].length == 0, lengthOnDisk(index) == nil {
        _ = try descriptor(index, for: .writing)
      }
    }
  }

  /// Whether the files are long enough to hold all of a range.
  package func mayHold(_ range: Range<Int>) -> Bool {
    parts(of: range).allSatisfy { part in
      (lengthOnDisk(part.file) ?? 0) >= part.range.upperBound
    }
  }

  /// Reads a range; nil when a file does not reach that far.
  package func read(_ range: Range<Int>) throws(StorageError) -> [UInt8]? {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(range.count)
    for part in parts(of: range) {
      guard lengthOnDisk(part.file) != nil else { return nil }
      let descriptor = try descriptor(part.file, for: .reading)
      var position = part.range.lowerBound
      while position < part.range.upperBound {
        let wanted = part.range.upperBound - position
        let chunk = [UInt8](unsafeUninitializedCapacity: wanted) { room, count in
          count = max(pread(descriptor, room.baseAddress, wanted, position), 0)
        }
        guard !chunk.isEmpty else { return nil }
        bytes += chunk
        position += chunk.count
      }
    }
    return bytes
  }

  package func write(_ bytes: [UInt8], at offset: Int) throws(StorageError) {
    var rest = bytes[...]
    for part in parts(of: offset..<offset + bytes.count) {
      let descriptor = try descriptor(part.file, for: .writing)
      var position = part.range.lowerBound
      while position < part.range.upperBound {
        let wanted = part.range.upperBound - position
        let written = rest.withUnsafeBytes {
          pwrite(descriptor, $0.baseAddress, min(wanted, $0.count), position)
        }
        guard written > 0 else {
          if written < 0, errno == EINTR { continue }
          throw failure(part.file, "write to")
        }
        rest = rest.dropFirst(written)
        position += written
      }
    }
  }

  // MARK: -

  private struct Part {
    var file: Int
    var range: Range<Int>
  }

  /// What of which files a range is, the first of them found by bisection.
  private func parts(of range: Range<Int>) -> [Part] {
    var low = 0
    var high = files.count
    while low < high {
      let middle = (low + high) / 2
      if offsets[middle] + files[middle].length <= range.lowerBound {
        low = middle + 1
      } else {
        high = middle
      }
    }
    var parts: [Part] = []
    for index in low..<files.count {
      guard offsets[index] < range.upperBound else { break }
      let there = range.clamped(to: offsets[index]..<offsets[index] + files[index].length)
      if !there.isEmpty {
        parts.append(
          Part(file: index, range: there.lowerBound - offsets[index]..<there.upperBound - offsets[index])
        )
      }
    }
    return parts
  }

  private func path(_ index: Int) -> String {
    ([folder] + files[index].path).joined(separator: "/")
  }

  private func lengthOnDisk(_ index: Int) -> Int? {
    var status = stat()
    if let file = open[index] {
      return fstat(file.descriptor, &status) == 0 ? status.st_size : nil
    }
    return stat(path(index), &status) == 0 ? status.st_size : nil
  }

  private func descriptor(_ index: Int, for access: Access) throws(StorageError) -> CInt {
    if let file = open[index] {
      if file.access == .writing || access == .reading { return file.descriptor }
      close(file.descriptor)
      open[index] = nil
    }
    if open.count >= Self.mostOpen, let victim = open.keys.randomElement(),
      let file = open.removeValue(forKey: victim)
    {
      close(file.descriptor)
    }
    if access == .writing {
      try makeFolders(above: index)
    }
    let flags = access == .writing ? O_RDWR | O_CREAT : O_RDONLY
    let descriptor = Glibc.open(path(index), flags | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else { throw failure(index, "open") }
    open[index] = OpenFile(descriptor: descriptor, access: access)
    return descriptor
  }

  private func makeFolders(above index: Int) throws(StorageError) {
    var path = folder
    for name in [""] + files[index].path.dropLast() {
      path += name.isEmpty ? "" : "/" + name
      guard mkdir(path, 0o777) == 0 || errno == EEXIST else {
        throw StorageError("Unable to make the folder \(printable(path)): \(systemText(errno))")
      }
    }
  }

  private func failure(_ index: Int, _ what: String) -> StorageError {
    let reason = systemText(errno)
    return StorageError("Unable to \(what) \(printable(path(index))): \(reason)")
  }
}

package struct StorageError: Error, CustomStringConvertible {
  package let description: String

  init(_ description: String) {
    self.description = description
  }
}

func systemText(_ errnum: CInt) -> String {
  String(cString: strerror(errnum))
}
