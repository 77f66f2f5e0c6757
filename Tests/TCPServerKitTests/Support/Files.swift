// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A small file as text, such as the kernel's in /proc; empty when it cannot be read.
func contents(of path: String) -> String {
  let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else { return "" }
  defer { close(descriptor) }
  var buffer = [UInt8](repeating: 0, count: 4096)
  let count = unsafe read(descriptor, &buffer, buffer.count)
  return String(decoding: buffer.prefix(max(count, 0)), as: UTF8.self)
}

/// Where a symbolic link leads; empty when it cannot be read.
func linkTarget(of path: String) -> String {
  var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
  let count = unsafe readlink(path, &buffer, buffer.count)
  return String(decoding: buffer.prefix(max(count, 0)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// A folder that is removed with what is in it.
final class TemporaryFolder {
  let path: String
  private var made: [String] = []

  init() throws {
    var template = Array("/tmp/tcpserverkit-XXXXXX".utf8CString)
    guard let path = unsafe mkdtemp(&template) else { throw POSIXFailure() }
    self.path = unsafe String(cString: path)
    made = [self.path]
  }

  deinit {
    for path in made.reversed() { unsafe remove(path) }
  }

  struct POSIXFailure: Error {}

  /// The path of a file that what is tested makes.
  func path(of name: String) -> String {
    made.append(path + "/" + name)
    return path + "/" + name
  }

  /// Writes a file, and makes the folders that it is in.
  func write(_ text: String, to name: String) throws {
    var folder = path
    for part in name.split(separator: "/").dropLast() {
      folder += "/" + part
      if unsafe mkdir(folder, 0o700) == 0 { made.append(folder) }
    }
    let descriptor = unsafe open(path + "/" + name, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw POSIXFailure() }
    made.append(path + "/" + name)
    let bytes = Array(text.utf8)
    defer { close(descriptor) }
    guard unsafe Glibc.write(descriptor, bytes, bytes.count) == bytes.count else { throw POSIXFailure() }
  }
}
