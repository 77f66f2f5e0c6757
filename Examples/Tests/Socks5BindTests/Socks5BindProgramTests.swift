import Glibc
import ProgramTesting
import Testing

@Suite("Socks5Bind as a program, behind Dante", .timeLimit(.minutes(1)))
struct Socks5BindProgramTests {
  /// The program, with the folder that it stores files in, behind a proxy.
  private final class Running {
    private let proxies: TemporaryFolder
    let folder: TemporaryFolder
    let dante: RunningDante
    let program: Program
    /// Where it is reachable now.
    private(set) var port: UInt16 = 0

    init(_ options: [String] = []) throws {
      proxies = try TemporaryFolder()
      folder = try TemporaryFolder()
      dante = try RunningDante.start(in: proxies)
      let proxy = ["--proxy", "127.0.0.1", "--proxy-port", "\(dante.port)"]
      program = try Program("Socks5Bind", [folder.path] + proxy + options)
      let line = try program.nextLine() ?? ""
      let pattern = /Reachable at 127\.0\.0\.1, port (\d+), through SOCKS5 proxy 127\.0\.0\.1:(\d+)\./
      guard let match = line.wholeMatch(of: pattern), let port = UInt16(match.1),
        UInt16(match.2) == dante.port
      else { throw UnexpectedOutput(line: line) }
      self.port = port
    }

    /// Lines up to one that says this, following the port as it changes.
    func line(containing text: String) throws -> String {
      while let line = try program.nextLine() {
        if let match = line.wholeMatch(of: /Now reachable at 127\.0\.0\.1, port (\d+)\./) {
          port = UInt16(match.1) ?? 0
        }
        if line.contains(text) { return line }
      }
      throw UnexpectedOutput(line: "nothing with '\(text)'")
    }
  }

  private func drop(_ bytes: [UInt8], at it: Running) throws -> String {
    let connection = try #require(Connection(port: it.port))
    // The proxy is asked anew while the connection has the port, so that it gives another.
    _ = try it.line(containing: "Now reachable at")
    connection.send(bytes)
    connection.endSending()
    return String(decoding: try #require(connection.receiveToEnd()), as: UTF8.self)
  }

  @Test("Peer after peer leaves a file, and is told so", .enabled(if: RunningDante.isWanted))
  func files() throws {
    let it = try Running()
    let files = [Array("one\n".utf8), [UInt8](repeating: 7, count: 300_000), []]
    for file in files {
      #expect(try drop(file, at: it) == "Stored \(file.count) bytes.\n")
    }
    #expect(it.folder.names == ["drop-1", "drop-2", "drop-3"])
    for (index, file) in files.enumerated() {
      #expect((it.folder.contents(of: "drop-\(index + 1)") == file) as Bool)
    }
    it.program.send(signal: SIGTERM)
    let end = try it.program.end()
    #expect(end.status == 0)
    #expect(end.output.hasSuffix("Stopped; files stored: 3.\n"))
    #expect(end.errors == "")
  }

  @Test("What is too long is not stored", .enabled(if: RunningDante.isWanted))
  func tooLong() throws {
    let it = try Running(["--limit", "10", "--ports", "3"])
    let answer = try drop(Array("more than ten bytes".utf8), at: it)
    #expect(answer == "The file is too long, or there is no room for it.\n")
    it.program.send(signal: SIGINT)
    #expect(try it.program.end().output.hasSuffix("Stopped; files stored: 0.\n"))
    #expect(it.folder.names == [])
  }

  @Test("It says why it cannot start")
  func failures() throws {
    let folder = try TemporaryFolder()
    let refused = try Program("Socks5Bind", [folder.path, "--proxy", "127.0.0.1", "--proxy-port", "1"]).end()
    #expect(refused.status == 1)
    let complaint = "Connection to proxy refused (SOCKS5 proxy 127.0.0.1:1, set on this server)"
    #expect(refused.errors == "Error: Unable to start the server: \(complaint)\n")

    let clear = try Program("Socks5Bind", [folder.path, "--proxy", "192.0.2.1", "--user", "me"]).end()
    #expect(clear.status == 1)
    #expect(clear.errors.contains("must be 1 to 255 bytes long"), "there is no password")

    let missing = try Program("Socks5Bind", ["/nowhere", "--proxy", "127.0.0.1"]).end()
    #expect(missing.status == 64)
    #expect(missing.errors.contains("'/nowhere' is not a folder that can be written to"))
  }
}
