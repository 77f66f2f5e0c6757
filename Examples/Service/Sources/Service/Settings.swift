// SPDX-License-Identifier: Apache-2.0

import Logging
import TCPServerKit

/// What the environment sets.
struct Settings {
  var address = HostAddress.any
  var port: UInt16 = 7007
  /// For metrics and probes, on this machine alone.
  var operationsPort: UInt16 = 9007
  var maxConnections = 1000
  /// Whether clients beyond the limit are closed at once; otherwise they wait.
  var reportsRejections = false
  var loops: Int?
  var logLevel = Logger.Level.info
  var metricsInterval: Duration = .seconds(5)
  var shutdownDelay: Duration = .seconds(5)
  var shutdownTimeout: Duration = .seconds(20)

  init(environment: [String: String]) throws {
    func read<Value>(_ name: String, _ value: inout Value, _ parse: (String) -> Value?) throws {
      guard let text = environment[name] else { return }
      guard let parsed = parse(text) else { throw WrongSetting(name: name, text: text) }
      value = parsed
    }
    func seconds(_ text: String) -> Duration? {
      Double(text).flatMap { (0...3600).contains($0) ? .seconds($0) : nil }
    }
    func positive(_ text: String) -> Int? {
      Int(text).flatMap { $0 > 0 ? $0 : nil }
    }
    try read("ADDRESS", &address, HostAddress.init)
    try read("PORT", &port) { UInt16($0) }
    try read("OPERATIONS_PORT", &operationsPort) { UInt16($0) }
    try read("MAX_CONNECTIONS", &maxConnections, positive)
    try read("CLOSE_EXCESS", &reportsRejections) { $0 == "1" }
    // Nil is a value of this one, and no failure.
    try read("LOOPS", &loops) { positive($0).map(Optional.some) }
    try read("LOG_LEVEL", &logLevel) { Logger.Level(rawValue: $0) }
    try read("METRICS_INTERVAL", &metricsInterval, seconds)
    try read("SHUTDOWN_DELAY", &shutdownDelay, seconds)
    try read("SHUTDOWN_TIMEOUT", &shutdownTimeout, seconds)
  }
}

struct WrongSetting: Error, CustomStringConvertible {
  let name: String
  let text: String

  var description: String {
    "The environment variable \(name) is '\(text)', which it cannot be."
  }
}
