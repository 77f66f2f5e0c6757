// SPDX-License-Identifier: Apache-2.0

internal import Glibc
internal import TCPServerKit

/// The file that the secrets of connections are written to. Each line is one `write(2)` to its end, so that loops, and
/// processes, share it.
final class SSLKeyLog: Sendable {
  private let descriptor: CInt
  private let isBroken = Locked(false)

  /// - Throws: where the file cannot be written, or is one that others may read.
  init(path: String) throws(SSLError) {
    guard !path.utf8.contains(0) else {
      throw SSLError(.configuration, "The name of the key log has a NUL in it")
    }
    // Not blocking: the path may be that of a pipe.
    let flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW
    descriptor = unsafe open(path, flags, 0o600)
    guard descriptor >= 0 else {
      let reason = unsafe String(cString: strerror(errno))
      throw SSLError(
        .configuration,
        "The key log cannot be opened: " + reason
      )
    }
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
      status.st_mode & 0o077 == 0, status.st_uid == geteuid(), status.st_nlink == 1
    else {
      close(descriptor)
      throw SSLError(.configuration, "The key log is not a file of this user alone (mode 0600, one name)")
    }
  }

  deinit {
    close(descriptor)
  }

  /// A line that cannot be written whole, as on a full disk, is the last one of this object: the next would go on
  /// behind its part. Other loops have other objects, and stop by lines of their own.
  func append(_ line: UnsafePointer<CChar>) {
    guard !isBroken.withLock({ $0 }) else { return }
    let bytes = unsafe Array(UnsafeRawBufferPointer(start: line, count: strlen(line))) + [UInt8(ascii: "\n")]
    let written = unsafe write(descriptor, bytes, bytes.count)
    if written >= 0, written < bytes.count { isBroken.withLock { $0 = true } }
  }
}
