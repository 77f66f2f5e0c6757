// SPDX-License-Identifier: Apache-2.0

import Glibc
import ProgramTesting

/// A reverse proxy that others have made, between two paths: its own, and that of the server behind it.
enum Front: String, CaseIterable {
  case nginx = "/usr/sbin/nginx"
  case haproxy = "/usr/sbin/haproxy"

  /// Where a test may go without it: not on a CI machine.
  var isWanted: Bool {
    isInstalled(rawValue)
  }

  /// - Parameter http: whether it speaks HTTP, or passes bytes on.
  func start(in folder: SocketFolder, http: Bool) throws -> Program {
    let configuration = folder.path + "/configuration"
    try folder.write(text(folder, http: http), to: "configuration")
    let arguments =
      switch self {
      case .nginx: ["-p", folder.path, "-e", folder.path + "/errors", "-c", configuration]
      case .haproxy: ["-db", "-f", configuration]
      }
    let program = try Program(path: rawValue, arguments)
    // haproxy listens when its path is there, nginx when it has written its number.
    let sign = self == .nginx ? folder.path + "/pid" : folder.front
    let deadline = ContinuousClock.now + Program.limit
    while access(sign, F_OK) != 0 {
      guard ContinuousClock.now < deadline else { throw UnexpectedOutput(line: "\(self) does not start") }
      usleep(1000)
    }
    return program
  }

  private func text(_ folder: SocketFolder, http: Bool) -> String {
    switch self {
    case .nginx: nginx(folder, http: http)
    case .haproxy:
      """
      defaults
        mode \(http ? "http" : "tcp")
        timeout connect 60s
        timeout client 60s
        timeout server 60s
      listen front
        bind unix@\(folder.front)
        server back unix@\(folder.back)

      """
    }
  }

  private func nginx(_ folder: SocketFolder, http: Bool) -> String {
    let module = "/usr/lib/nginx/modules/ngx_stream_module.so"
    let server =
      http
      ? "location / { proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection \"\"; }"
      : "proxy_pass back; proxy_half_close on;"
    return """
      \(http || access(module, F_OK) != 0 ? "" : "load_module \(module);")
      \(getuid() == 0 ? "user root root;" : "")
      daemon off;
      pid \(folder.path)/pid;
      events {}
      \(http ? "http" : "stream") {
        access_log off;
        \(http ? temporaryFolders(folder) : "")
        upstream back { server unix:\(folder.back); \(http ? "keepalive 8;" : "") }
        server { listen unix:\(folder.front); \(server) }
      }

      """
  }

  private func temporaryFolders(_ folder: SocketFolder) -> String {
    ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map { "\($0)_temp_path \(folder.path);" }
      .joined(separator: " ")
  }
}

/// A folder for the sockets of a test, which goes with all that is in it.
final class SocketFolder {
  let path: String

  init() throws {
    var template = Array("/tmp/tcpserverkit.XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw UnexpectedOutput(line: "no temporary folder") }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit {
    for name in ["front", "back", "configuration", "errors", "pid", "control", "program"] {
      unlink(path + "/" + name)
    }
    rmdir(path)
  }

  var front: String { path + "/front" }
  var back: String { path + "/back" }

  func write(_ text: String, to name: String) throws {
    let descriptor = open(path + "/" + name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    defer { close(descriptor) }
    let bytes = Array(text.utf8)
    guard Glibc.write(descriptor, bytes, bytes.count) == bytes.count else {
      throw UnexpectedOutput(line: "cannot write \(name)")
    }
  }
}
