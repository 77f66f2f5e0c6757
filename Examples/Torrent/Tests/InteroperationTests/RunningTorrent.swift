// SPDX-License-Identifier: Apache-2.0

import Foundation
import ProgramTesting

/// The program under test.
final class RunningTorrent {
  let program: Program
  let port: UInt16
  /// What it has printed until now, of what was waited for.
  private(set) var lines: [String] = []

  init(_ torrents: [String], directory: String, _ options: [String]) throws {
    let ports = options.contains("--ports") ? [] : ["--ports", Ports.range()]
    program = try Program("Torrent", torrents + ["--directory", directory] + ports + options)
    let first = try program.nextLine() ?? ""
    guard let match = first.wholeMatch(of: /Listening on \S+, port (\d+)\./), let port = UInt16(match.1)
    else {
      throw UnexpectedOutput(line: "'\(first)' \((try? program.end()).map { "\($0)" } ?? "")")
    }
    self.port = port
  }

  convenience init(_ torrent: String, directory: String, _ options: [String]) throws {
    try self.init([torrent], directory: directory, options)
  }

  /// The next line that is so.
  @discardableResult
  func line(_ what: String, where isIt: (String) -> Bool) throws -> String {
    let deadline = ContinuousClock.now + Content.limit
    while let line = try program.nextLine(within: deadline - .now) {
      lines.append(line)
      if isIt(line) { return line }
    }
    throw UnexpectedOutput(line: "no \(what) in \(lines), \(try program.end())")
  }

  /// Waits until it has all of something.
  func complete(_ size: Int, of name: String = "content.bin") throws {
    try line("completion") { $0 == "\(name): complete, \(size) bytes." }
  }

  /// Waits until it has dropped the peer at that port.
  /// - Returns: Why.
  func reason(forDropping port: UInt16) throws -> String {
    let prefix = "Dropped 127.0.0.1:\(port): "
    let line = try line("drop of \(port)") { $0.hasPrefix(prefix) }
    return String(line.dropFirst(prefix.count).dropLast())
  }

  /// Ends it as Ctrl-C does.
  func stop(with signal: Int32 = SIGINT) throws -> Program.End {
    program.send(signal: signal)
    return try program.end()
  }

  /// The most memory that it has had at once, in bytes.
  func peakMemory() throws -> Int {
    let status = try String(contentsOfFile: "/proc/\(program.process)/status", encoding: .utf8)
    guard let match = status.firstMatch(of: /VmHWM:\s+(\d+) kB/), let kibibytes = Int(match.1) else {
      throw UnexpectedOutput(line: status)
    }
    return kibibytes << 10
  }
}
