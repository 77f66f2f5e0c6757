// SPDX-License-Identifier: Apache-2.0

import Metrics
import Synchronization

/// Keeps metrics, and writes them in Prometheus' text format: what a service needs of it, on a page.
///
/// A name's dots become underscores. Counters get the ending that Prometheus expects, timers that of their unit; what is
/// recorded becomes a histogram.
final class PrometheusFactory: MetricsFactory {
  typealias Dimensions = [(String, String)]

  private struct Family {
    let kind: String
    var metrics: [String: any WrittenMetric] = [:]
  }

  private let families = Mutex<[String: Family]>([:])

  /// All metrics as they are now.
  var text: String {
    families.withLock { families in
      families.sorted { $0.key < $1.key }.map { name, family in
        let samples = family.metrics.sorted { $0.key < $1.key }.map { $1.lines(name, labels: $0) }
        return "# HELP \(name) \(help(name))\n# TYPE \(name) \(family.kind)\n" + samples.joined()
      }
      .joined()
    }
  }

  private func metric<Made: WrittenMetric>(
    _ label: String,
    _ ending: String,
    _ kind: String,
    _ dimensions: Dimensions,
    _ make: () -> Made
  ) -> Made {
    let name = label.replacing(".", with: "_") + ending
    let labels = dimensions.map { "\($0)=\"\(escaped($1))\"" }.joined(separator: ",")
    return families.withLock { families in
      if let existing = families[name]?.metrics[labels] as? Made { return existing }
      let made = make()
      families[name, default: Family(kind: kind)].metrics[labels] = made
      return made
    }
  }

  private func escaped(_ value: String) -> String {
    value.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
  }

  private func help(_ name: String) -> String {
    let texts = [
      "accept_errors_total": "Attempts to accept that failed, by class of error.",
      "accept_paused_time_total": "Seconds that accepting was paused for an error or a limit.",
      "connection_duration_seconds": "How long connections lasted, by whether the peer got everything.",
      "connections_accepted_total": "Connections that the kernel handed over.",
      "connections_active": "Connections that have not ended.",
      "connections_ended_total": "Connections that a limit of the connection policy ended, by reason.",
      "connections_in_preface": "Connections whose PROXY header is awaited.",
      "connections_pending": "Connections that no handler has taken.",
      "connections_rejected_total": "Connections that were closed in place of being served, by reason.",
      "descriptors_headroom": "Files that the process may still open.",
      "draining": "1 from the announcement of a shutdown on.",
      "kernel_queue_length": "Clients in the kernel's accept queue.",
      "kernel_queue_limit": "How many clients the kernel's accept queue takes.",
      "loop_busy": "Part of a processor that the loop's thread uses, 0 to 1.",
      "loop_lag": "Seconds by which a timer of the loop was late.",
    ]
    let prefix = "tcp_server_"
    return name.hasPrefix(prefix) ? texts[String(name.dropFirst(prefix.count))] ?? name : name
  }

  // MARK: - MetricsFactory

  func makeCounter(label: String, dimensions: Dimensions) -> any CounterHandler {
    metric(label, "_total", "counter", dimensions) { Number() }
  }

  func makeFloatingPointCounter(label: String, dimensions: Dimensions) -> any FloatingPointCounterHandler {
    metric(label, "_total", "counter", dimensions) { Number() }
  }

  func makeMeter(label: String, dimensions: Dimensions) -> any MeterHandler {
    metric(label, "", "gauge", dimensions) { Number() }
  }

  func makeRecorder(label: String, dimensions: Dimensions, aggregate: Bool) -> any RecorderHandler {
    if aggregate {
      metric(label, "", "histogram", dimensions) { Histogram(scale: 1) }
    } else {
      metric(label, "", "gauge", dimensions) { Number() }
    }
  }

  func makeTimer(label: String, dimensions: Dimensions) -> any TimerHandler {
    metric(label, "_seconds", "histogram", dimensions) { Histogram(scale: 1e-9) }
  }

  // The metrics of a server that has ended are read once more.
  func destroyCounter(_ handler: any CounterHandler) {}
  func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {}
  func destroyMeter(_ handler: any MeterHandler) {}
  func destroyRecorder(_ handler: any RecorderHandler) {}
  func destroyTimer(_ handler: any TimerHandler) {}
}

private protocol WrittenMetric: Sendable {
  func lines(_ name: String, labels: String) -> String
}

/// A counter or a gauge.
private final class Number: WrittenMetric, CounterHandler, FloatingPointCounterHandler, MeterHandler,
  RecorderHandler
{
  private let value = Mutex(0.0)

  func increment(by amount: Int64) { value.withLock { $0 += Double(amount) } }
  func increment(by amount: Double) { value.withLock { $0 += amount } }
  func decrement(by amount: Double) { value.withLock { $0 -= amount } }
  func set(_ new: Int64) { value.withLock { $0 = Double(new) } }
  func set(_ new: Double) { value.withLock { $0 = new } }
  func record(_ new: Int64) { set(new) }
  func record(_ new: Double) { set(new) }
  func reset() { set(Int64(0)) }

  func lines(_ name: String, labels: String) -> String {
    "\(name)\(labels.isEmpty ? "" : "{\(labels)}") \(value.withLock { $0 })\n"
  }
}

/// Counts by powers of four, from a microsecond to more than an hour, where the unit is a second.
private final class Histogram: WrittenMetric, RecorderHandler, TimerHandler {
  private struct State {
    var counts = [UInt64](repeating: 0, count: Histogram.bounds.count + 1)
    var sum = 0.0
  }

  static let bounds: [Double] = (0..<17).map { 1e-6 * Double(1 << (2 * $0)) }

  private let scale: Double
  private let state = Mutex(State())

  init(scale: Double) {
    self.scale = scale
  }

  func record(_ value: Double) {
    let value = value * scale
    let bucket = Self.bounds.firstIndex { value <= $0 } ?? Self.bounds.count
    state.withLock { state in
      state.counts[bucket] += 1
      state.sum += value
    }
  }

  func record(_ value: Int64) { record(Double(value)) }
  func recordNanoseconds(_ duration: Int64) { record(Double(duration)) }

  func lines(_ name: String, labels: String) -> String {
    let (counts, sum) = state.withLock { ($0.counts, $0.sum) }
    let comma = labels.isEmpty ? "" : ","
    let braces = labels.isEmpty ? "" : "{\(labels)}"
    var total: UInt64 = 0
    var lines = ""
    for (bound, count) in zip(Self.bounds.map { "\($0)" } + ["+Inf"], counts) {
      total += count
      lines += "\(name)_bucket{\(labels)\(comma)le=\"\(bound)\"} \(total)\n"
    }
    return lines + "\(name)_sum\(braces) \(sum)\n\(name)_count\(braces) \(total)\n"
  }
}
