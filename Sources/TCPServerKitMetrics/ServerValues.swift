// SPDX-License-Identifier: Apache-2.0

#if Metrics
  internal import TCPServerKit

  /// What a server's counters are at one time; at first all are 0.
  struct ServerValues {
    var statistics: TCPServer.Statistics?
    var durations = ConnectionDurations.Counts()
    var loops: [String: LoopMeter.Reading] = [:]
    var headroom: Int?
    var isDraining = false

    init() {}

    init(_ server: MonitoredServer) async {
      // First, because it does not wait for a loop that is stuck.
      loops = Dictionary(uniqueKeysWithValues: server.loopReadings.map { ($0.name, $0.reading) })
      headroom = MonitoredServer.descriptorHeadroom
      statistics = await server.statistics()
      durations = server.connectionDurations
      isDraining = server.shutdown?.isAnnounced ?? false
    }
  }
#endif
