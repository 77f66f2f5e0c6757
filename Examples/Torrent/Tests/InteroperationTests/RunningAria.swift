// SPDX-License-Identifier: Apache-2.0

import Foundation
import ProgramTesting

/// aria2c, which finds its peers through the tracker and nothing else.
final class RunningAria {
  private let program: Program

  /// - Parameter options: With `--seed-ratio=0` it goes on serving, without it ends when it has all.
  init(_ torrent: String, directory: String, _ options: [String]) throws {
    let first = Ports.free(10)
    program = try Program(
      path: Tools.aria,
      [
        "--no-conf", "--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false",
        "--enable-peer-exchange=false", "--disable-ipv6=true", "--file-allocation=none",
        "--enable-color=false",
        "--show-console-readout=false", "--summary-interval=0", "--check-integrity=true", "--seed-time=0",
        "--dir=\(directory)", "--listen-port=\(first)-\(first + 9)",
      ] + options + [torrent]
    )
    try readLine(containing: "listening on TCP port")
  }

  /// One that has all of it already, and is known to the tracker.
  static func seeder(
    _ torrent: String,
    directory: String,
    _ tracker: RunningTracker,
    _ options: [String] = []
  ) throws -> RunningAria {
    let before = try tracker.peers().complete
    let seeder = try RunningAria(
      torrent,
      directory: directory,
      ["--seed-ratio=0", "--seed-time=60"] + options
    )
    try wait(until: "aria2c announces itself") { try tracker.peers().complete > before }
    return seeder
  }

  private func readLine(containing text: String) throws {
    while let line = try program.nextLine() {
      if line.contains(text) { return }
    }
    throw UnexpectedOutput(line: "aria2c ends with nothing about '\(text)': \(try program.end())")
  }

  /// How much it uploaded and downloaded, as it prints it, to a tenth of its unit.
  struct Ratio {
    var uploaded: Double
    var downloaded: Double
  }

  /// Waits until it ends by itself.
  func end() throws -> Ratio {
    let end = try program.end(within: Content.limit)
    guard end.status == 0,
      let match = end.output.firstMatch(of: /uploaded\/downloaded=([\d.]+)([KMG]?i?)B\/([\d.]+)([KMG]?i?)B/)
    else { throw UnexpectedOutput(line: "aria2c: \(end)") }
    func bytes(_ number: Substring, _ unit: Substring) -> Double {
      let units: [Substring: Double] = ["": 1, "Ki": 0x1p10, "Mi": 0x1p20, "Gi": 0x1p30]
      return (Double(number) ?? .nan) * (units[unit] ?? .nan)
    }
    return Ratio(uploaded: bytes(match.1, match.2), downloaded: bytes(match.3, match.4))
  }

  /// Ends it as Ctrl-C does.
  func stop() throws -> Ratio {
    program.send(signal: SIGINT)
    return try end()
  }
}
