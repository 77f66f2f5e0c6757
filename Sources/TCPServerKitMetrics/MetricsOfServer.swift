// SPDX-License-Identifier: Apache-2.0

#if Metrics
  internal import Metrics
  internal import TCPServerKit

  /// The metrics of one server, each made once.
  struct MetricsOfServer {
    private let meters: [(meter: Meter, value: (TCPServer.Statistics) -> UInt64)]
    private let counters: [(counter: Counter, value: (TCPServer.Statistics) -> UInt64)]
    private let pausedTime: FloatingPointCounter
    private let delivered: Timer
    private let undelivered: Timer
    private let headroom: Meter
    private let draining: Meter
    private let loops: [String: (lag: Recorder, busy: Meter)]

    init(_ name: String, loops names: [String], _ factory: any MetricsFactory) {
      let server = [("server", name)]
      func meter(_ label: String) -> Meter {
        Meter(label: label, dimensions: server, factory: factory)
      }
      func counter(_ label: String, _ more: (String, String)...) -> Counter {
        Counter(label: label, dimensions: server + more, factory: factory)
      }
      func rejected(_ reason: String) -> Counter {
        counter("tcp.server.connections.rejected", ("reason", reason))
      }
      func ended(_ reason: String) -> Counter {
        counter("tcp.server.connections.ended", ("reason", reason))
      }
      func errors(_ kind: String) -> Counter {
        counter("tcp.server.accept.errors", ("class", kind))
      }
      func durations(_ outcome: String) -> Timer {
        Timer(
          label: "tcp.server.connection.duration",
          dimensions: server + [("outcome", outcome)],
          factory: factory
        )
      }
      meters = [
        (meter("tcp.server.connections.active"), { $0.live }),
        (meter("tcp.server.connections.pending"), { $0.pending + $0.inMailbox }),
        (meter("tcp.server.connections.in_preface"), { $0.inPreface }),
        (meter("tcp.server.kernel_queue.length"), { $0.acceptQueue }),
        (meter("tcp.server.kernel_queue.limit"), { $0.acceptQueueLimit }),
      ]
      counters = [
        (counter("tcp.server.connections.accepted"), { $0.accepted }),
        (rejected("admission"), { $0.rejectedByAdmission }),
        (rejected("limit"), { $0.rejectedByLimit }),
        (rejected("source_limit"), { $0.rejectedBySourceLimit }),
        (rejected("source_rate"), { $0.rejectedBySourceRate }),
        (rejected("overload"), { $0.shed }),
        // Not those that said nothing at all, as health checks do.
        (rejected("proxy_header"), { $0.endedInPreface - min($0.prefaceSilent, $0.endedInPreface) }),
        (ended("first_byte"), { $0.firstByteTimeouts }),
        (ended("idle"), { $0.idleTimeouts }),
        (ended("rate"), { $0.tooSlow }),
        (ended("age"), { $0.cutForAge }),
        (errors("peer"), { $0.peerErrors }),
        (errors("resources"), { $0.resourceErrors }),
        (errors("permission"), { $0.permissionErrors }),
        (errors("listener"), { $0.listenerErrors }),
      ]
      pausedTime = FloatingPointCounter(
        label: "tcp.server.accept.paused_time",
        dimensions: server,
        factory: factory
      )
      delivered = durations("delivered")
      undelivered = durations("undelivered")
      headroom = Meter(label: "tcp.server.descriptors.headroom", dimensions: [], factory: factory)
      draining = meter("tcp.server.draining")
      loops = Dictionary(
        uniqueKeysWithValues: names.map { name in
          let dimensions = server + [("loop", name)]
          let lag = Recorder(label: "tcp.server.loop.lag", dimensions: dimensions, factory: factory)
          let busy = Meter(label: "tcp.server.loop.busy", dimensions: dimensions, factory: factory)
          return (name, (lag, busy))
        }
      )
    }

    func report(_ now: ServerValues, since last: ServerValues) {
      if let statistics = now.statistics {
        for (meter, value) in meters { meter.set(value(statistics)) }
        for (counter, value) in counters {
          counter.increment(by: increase(value(statistics), last.statistics.map(value)))
        }
        let paused = statistics.overloadTime - (last.statistics?.overloadTime ?? .zero)
        pausedTime.increment(by: max(paused / .seconds(1), 0))
      }
      record(now.durations.delivered, since: last.durations.delivered, by: delivered)
      record(now.durations.undelivered, since: last.durations.undelivered, by: undelivered)
      for (loop, reading) in now.loops { report(reading, since: last.loops[loop], of: loop) }
      if let left = now.headroom { headroom.set(left) }
      draining.set(now.isDraining ? 1 : 0)
    }

    /// The counters are read while the loops are at work, so that one of a group may be a little behind.
    private func increase(_ now: UInt64, _ before: UInt64?) -> Int64 {
      let before = before ?? 0
      return now > before ? Int64(clamping: now - before) : 0
    }

    private func record(_ now: [UInt64], since last: [UInt64], by timer: Timer) {
      for bucket in now.indices where now[bucket] > last[bucket] {
        // The middle: three quarters of 2^bucket microseconds.
        let middle: Int64 = bucket == 0 ? 500 : 750 << Int64(bucket)
        for _ in last[bucket]..<now[bucket] { timer.recordNanoseconds(middle) }
      }
    }

    private func report(_ reading: LoopMeter.Reading, since earlier: LoopMeter.Reading?, of loop: String) {
      guard let metrics = loops[loop] else { return }
      for lateness in reading.lateness(since: earlier) { metrics.lag.record(Double(lateness) / 1e9) }
      if let earlier, let busy = reading.busy(since: earlier) { metrics.busy.set(busy) }
    }
  }
#endif
