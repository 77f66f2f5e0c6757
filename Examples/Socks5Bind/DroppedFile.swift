import Glibc

/// A file on its way in, under a name that no other has.
final class DroppedFile {
  let name: String
  private let path: String
  private let limit: Int
  private var descriptor: CInt
  /// How many bytes have been stored.
  private(set) var count = 0

  /// Nil when the folder takes no more files.
  init?(in folder: String, limit: Int) {
    self.limit = limit
    for number in 1...100_000 {
      let name = "drop-\(number)"
      let path = folder + "/" + name
      let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
      if descriptor >= 0 {
        self.name = name
        self.path = path
        self.descriptor = descriptor
        return
      }
      guard errno == EEXIST else { return nil }
    }
    return nil
  }

  deinit {
    discard()
  }

  /// False when the file would be too long, or cannot be written.
  func append(_ bytes: [UInt8]) -> Bool {
    guard descriptor >= 0, count + bytes.count <= limit else { return false }
    var rest = bytes[...]
    while !rest.isEmpty {
      let written = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
      guard written > 0 else { return false }
      rest = rest.dropFirst(written)
    }
    count += bytes.count
    return true
  }

  /// Leaves the file where it is. False when it was discarded, or kept before.
  func keep() -> Bool {
    guard descriptor >= 0 else { return false }
    close(descriptor)
    descriptor = -1
    return true
  }

  /// Removes the file, unless it was kept.
  func discard() {
    guard keep() else { return }
    unlink(path)
  }
}
