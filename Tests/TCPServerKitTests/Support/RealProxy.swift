// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit

/// A proxy that others have made, as a child process on a port of 127.0.0.1.
final class RealProxy {
  /// Its port, which it does not lose to another test when it has ended.
  let reserved: ReservedPort
  private let process: ChildProcess

  var port: UInt16 { reserved.number }

  /// Where a test may go without a program: not on a CI machine.
  static func isWanted(_ path: String) -> Bool {
    unsafe access(path, X_OK) == 0 || getenv("CI") != nil
  }

  static let dantePath = "/usr/sbin/danted"
  static let microsocksPath = "/usr/bin/microsocks"

  deinit {
    process.terminate()
  }

  private init(_ process: ChildProcess, port: ReservedPort) {
    self.process = process
    reserved = port
  }

  enum Missing: Error, CustomStringConvertible {
    case program(String)

    var description: String {
      switch self {
      case .program(let path): "\(path) does not start; scripts/install-dependencies test installs it"
      }
    }
  }

  /// Dante's server, which knows BIND.
  ///
  /// - Parameter port: where; nil for a new one.
  static func dante(on port: ReservedPort? = nil) throws -> RealProxy {
    try start(dantePath, on: port) { port in
      let folder = try temporaryFolder()
      let configuration = folder + "/danted.conf"
      write(
        """
        logoutput: stdout
        internal: 127.0.0.1 port = \(port)
        external: 127.0.0.1
        clientmethod: none
        socksmethod: none
        user.privileged: \(userName)
        user.unprivileged: \(userName)
        client pass { from: 127.0.0.0/8 to: 0.0.0.0/0 }
        socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 command: bind connect bindreply }

        """,
        to: configuration
      )
      defer { remove(folder: folder) }
      guard let process = ChildProcess(at: dantePath, ["-f", configuration, "-p", folder + "/pid"]) else {
        return nil
      }
      // It says so once it listens.
      while case let line = process.readLine(), !line.isEmpty {
        if line.contains("running") { return process }
      }
      return nil
    }
  }

  /// microsocks, which knows CONNECT alone.
  static func microsocks(user: String = "", password: String = "") throws -> RealProxy {
    try start(microsocksPath) { port in
      var arguments = ["-i", "127.0.0.1", "-p", "\(port)"]
      if !user.isEmpty { arguments += ["-u", user, "-P", password] }
      guard let process = ChildProcess(at: microsocksPath, arguments) else { return nil }
      // It says nothing: it listens when a connection succeeds, and has ended where it cannot.
      let deadline = ContinuousClock.now + Loop.limit
      while ContinuousClock.now < deadline && process.isRunning {
        if PlainClient(port: port) != nil { return process }
        sched_yield()
      }
      return nil
    }
  }

  /// The way through it, for loopback addresses too. It has the time of a test to answer.
  var proxy: NetworkProxy {
    var proxy = NetworkProxy.socks5(hostName: "127.0.0.1", port: port)
    proxy.proxiesLoopback = true
    proxy.timeout = Loop.limit
    return proxy
  }

  private static func start(
    _ path: String,
    on port: ReservedPort? = nil,
    _ attempt: (UInt16) throws -> ChildProcess?
  ) throws -> RealProxy {
    let port = try port ?? ReservedPort()
    guard let process = try attempt(port.number) else { throw Missing.program(path) }
    return RealProxy(process, port: port)
  }

  private static var userName: String {
    unsafe getpwuid(getuid()).map { unsafe String(cString: $0.pointee.pw_name) } ?? "root"
  }

  private static func temporaryFolder() throws -> String {
    var template = Array("/tmp/tcpserverkit.XXXXXX".utf8CString)
    guard unsafe mkdtemp(&template) != nil else { throw Missing.program("a temporary folder") }
    return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  private static func write(_ text: String, to path: String) {
    let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
    let bytes = Array(text.utf8)
    unsafe _ = Glibc.write(descriptor, bytes, bytes.count)
    close(descriptor)
  }

  private static func remove(folder: String) {
    for name in ["danted.conf", "pid"] { unsafe unlink(folder + "/" + name) }
    unsafe rmdir(folder)
  }
}
