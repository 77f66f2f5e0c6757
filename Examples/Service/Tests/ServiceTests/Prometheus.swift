// SPDX-License-Identifier: Apache-2.0

import Glibc
import ProgramTesting
import Testing

/// A Prometheus that reads the metrics of a service once a second.
struct Prometheus {
  private let folder: TemporaryFolder
  private let program: Program
  private let port: UInt16

  /// Where CI relies on the tests that need it, they fail without it.
  static var isNeededOrThere: Bool {
    getenv("CI") != nil || path != nil && access("/usr/bin/promtool", X_OK) == 0
  }

  private static var path: String? {
    ["/usr/bin/prometheus", "/usr/local/bin/prometheus"].first { access($0, X_OK) == 0 }
  }

  init(of operationsPort: UInt16) throws {
    folder = try TemporaryFolder()
    try folder.write(
      "prometheus.yml",
      """
      scrape_configs:
        - job_name: service
          scrape_interval: 1s
          scrape_timeout: 1s
          static_configs:
            - targets: ["127.0.0.1:\(operationsPort)"]

      """
    )
    // It has no way to say which port the system has chosen.
    port = try Self.freePort()
    program = try Program(
      path: #require(Self.path),
      [
        "--config.file=\(folder.path)/prometheus.yml", "--storage.tsdb.path=\(folder.path)/data",
        "--web.listen-address=127.0.0.1:\(port)", "--log.level=error",
      ]
    )
    let deadline = ContinuousClock.now + .seconds(60)
    while (try? HTTP.get(port, "/-/ready").status) != 200 {
      guard ContinuousClock.now < deadline else {
        throw UnexpectedOutput(line: "Prometheus does not get ready")
      }
      usleep(20000)
    }
  }

  private static func freePort() throws -> UInt16 {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    try #require(listen(descriptor, 1) == 0)
    return Connection(descriptor: descriptor).localPort
  }

  func query(_ expression: String) throws -> (status: Int, body: String) {
    let hexadecimal = Array("0123456789ABCDEF")
    let query = expression.utf8.map { byte in
      "%" + [hexadecimal[Int(byte >> 4)], hexadecimal[Int(byte & 15)]]
    }
    return try HTTP.get(port, "/api/v1/query?query=" + query.joined())
  }

  /// The latest value of a metric.
  func value(of metric: String) throws -> Double? {
    try query(metric).body.firstMatch(of: /"value":\[[0-9.]+,"([^"]+)"\]/).flatMap { Double($0.1) }
  }
}

/// The dashboard of the example.
enum Dashboard {
  /// What its panels show, with what Grafana puts in for its variables.
  static func expressions(file: String = #filePath) throws -> [String] {
    let folder = file.split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(
      separator: "/"
    )
    let text = try String(decoding: contents(folder + "/grafana-dashboard.json"), as: UTF8.self)
    return text.matches(of: /"expr": "((?:[^"\\]|\\.)*)"/).map { match in
      String(match.1).replacing("\\\"", with: "\"").replacing("$__rate_interval", with: "5m")
        .replacing("$server", with: "echo")
    }
  }

  private static func contents(_ path: String) throws -> [UInt8] {
    let file = try #require(fopen(path, "r"), "\(path)")
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: 1 << 20)
    let count = fread(&bytes, 1, bytes.count, file)
    return Array(bytes.prefix(count))
  }
}

/// A folder that is removed with what is in it.
final class TemporaryFolder {
  let path: String

  init() throws {
    var template = Array("/tmp/service-test-XXXXXX".utf8CString)
    path = String(cString: try #require(mkdtemp(&template)))
  }

  deinit {
    _ = try? Program(path: "/bin/rm", ["-r", path]).end()
  }

  func write(_ name: String, _ text: String) throws {
    let file = try #require(fopen("\(path)/\(name)", "w"))
    fputs(text, file)
    fclose(file)
  }
}
