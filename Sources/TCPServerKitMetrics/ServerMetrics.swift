// SPDX-License-Identifier: Apache-2.0

#if Metrics
  public import Metrics
  public import TCPServerKit

  /// Gives the counters of a server to swift-metrics, under the names that the article "Operating a server" lists.
  ///
  /// ```swift
  /// try await server.withMonitors([ServerMetrics(server: "echo")], shutdown: shutdown) {
  ///   try await server.serve(shutdown: shutdown, handler: echo)
  /// }
  /// ```
  ///
  /// It reads the counters now and then, and gives what has changed since to the metrics: nothing is done for each
  /// connection but to count its duration, in one of 32 classes that the loop has. A duration is therefore exact to half
  /// a power of two. What happened up to the end of the server is reported before the call that runs the server returns.
  public struct ServerMetrics: ServerMonitor {
    private let name: String
    private let interval: Duration
    private let factory: any MetricsFactory

    /// Makes a monitor of one server.
    ///
    /// - Parameters:
    ///   - name: the value of the dimension `server`. Servers of one process have different names.
    ///   - interval: how often the counters are read; less than a millisecond counts as one.
    ///   - factory: makes the metrics; by default that of the task, or the one that the program has bootstrapped.
    public init(
      server name: String,
      interval: Duration = .seconds(5),
      factory: any MetricsFactory = MetricsSystem.factory
    ) {
      self.name = name
      self.interval = max(interval, .milliseconds(1))
      self.factory = factory
    }

    /// Reports until its task is cancelled, and once more then.
    ///
    /// - Parameter server: whose counters are reported.
    ///
    /// ## Cancellation
    ///
    /// Ends it, when the last values were reported.
    ///
    /// ## Isolation
    ///
    /// May be called from any task.
    public func monitor(_ server: MonitoredServer) async {
      let metrics = MetricsOfServer(name, loops: server.loopReadings.map(\.name), factory)
      var last = ServerValues()
      last.statistics = server.statisticsBefore
      repeat {
        let now = await ServerValues(server)
        metrics.report(now, since: last)
        last = now
      } while (try? await Task.sleep(for: interval)) != nil
      metrics.report(await ServerValues(server), since: last)
    }
  }
#endif
