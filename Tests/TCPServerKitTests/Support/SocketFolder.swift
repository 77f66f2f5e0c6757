// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit

/// A folder of a test's own for a UNIX socket.
final class SocketFolder: Sendable {
  private let folder: String
  /// The path of a socket in it.
  let path: String

  init() throws {
    var template = Array("/tmp/tcpserverkit-XXXXXX".utf8CString)
    guard let name = unsafe mkdtemp(&template) else { throw TemporaryFolder.POSIXFailure() }
    folder = unsafe String(cString: name)
    path = folder + "/socket"
  }

  deinit {
    unsafe unlink(path)
    unsafe rmdir(folder)
  }

  /// Whether anything is at the path.
  var hasFile: Bool {
    status != nil
  }

  /// The permissions of what is there.
  var permissions: mode_t? {
    status.map { $0.st_mode & 0o7777 }
  }

  private var status: stat? {
    var status = stat()
    return unsafe lstat(path, &status) == 0 ? status : nil
  }

  /// Leaves what a server leaves that ends without removing its file.
  func leaveStale() {
    close(UnixName(path)?.bound() ?? -1)
  }
}

/// A path, or an abstract name after an `@`, in the kernel's form.
struct UnixName {
  private var name = sockaddr_un()
  private let length: socklen_t

  init?(_ path: String) {
    let bytes = Array(path.utf8)
    guard bytes.count < MemoryLayout.size(ofValue: name.sun_path) else { return nil }
    name.sun_family = sa_family_t(AF_UNIX)
    unsafe withUnsafeMutableBytes(of: &name.sun_path) { room in
      unsafe room.copyBytes(from: bytes)
      if bytes.first == UInt8(ascii: "@") { unsafe room[0] = 0 }
    }
    length = socklen_t(MemoryLayout<sa_family_t>.size + bytes.count)
  }

  private func with(_ body: (UnsafePointer<sockaddr>) -> CInt) -> Bool {
    var name = name
    return unsafe withUnsafePointer(to: &name) { name in
      unsafe name.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe body($0) == 0 }
    }
  }

  private static func stream() -> CInt {
    socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
  }

  func bind(_ descriptor: CInt) -> Bool {
    unsafe with { unsafe Glibc.bind(descriptor, $0, length) }
  }

  /// A socket bound to it; -1 when that fails.
  func bound() -> CInt {
    let descriptor = Self.stream()
    guard bind(descriptor) else {
      close(descriptor)
      return -1
    }
    return descriptor
  }

  /// A socket that listens there; -1 when that fails.
  func listening(backlog: CInt = 10) -> CInt {
    let descriptor = bound()
    guard descriptor >= 0, listen(descriptor, backlog) == 0 else { return -1 }
    return descriptor
  }

  /// A connection to who listens there; -1, with errno, when that fails.
  func connected() -> CInt {
    let descriptor = Self.stream()
    _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
    guard unsafe with({ unsafe connect(descriptor, $0, length) }) else {
      let reason = errno
      close(descriptor)
      errno = reason
      return -1
    }
    return descriptor
  }
}

extension PlainClient {
  /// Connects to a path; nil when that fails.
  convenience init?(path: String) {
    guard let descriptor = UnixName(path)?.connected(), descriptor >= 0 else { return nil }
    self.init(adopting: descriptor)
  }
}

/// A server that listens at a path of its own.
func listening(at folder: SocketFolder, on base: EventBase? = .current) throws -> TCPServer {
  let server = TCPServer(eventBase: base)
  guard server.listen(path: folder.path) else { throw server.serverError }
  return server
}
