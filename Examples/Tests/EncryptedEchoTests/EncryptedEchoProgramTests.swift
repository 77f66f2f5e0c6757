// SPDX-License-Identifier: Apache-2.0

import Glibc
import ProgramTesting
import Testing

@Suite("EncryptedEchoServer as a program", .blocking, .timeLimit(.minutes(5)))
struct EncryptedEchoProgramTests {
  private func output(of command: String) throws -> String {
    let end = try Program(path: "/bin/sh", ["-c", command]).end()
    #expect(end.status == 0, "\(end.errors)")
    return end.output
  }

  /// Makes a certificate for itself, and its key, in a folder.
  private func certify(in folder: String) throws {
    _ = try output(
      of:
        "cd \(folder) && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem "
        + "-out certificate.pem -days 30 -subj /CN=localhost -addext subjectAltName=DNS:localhost 2>/dev/null"
    )
  }

  @Test(
    "openssl gets back what it sends, before and after the certificate was renewed, on each number of loops",
    .enabled(if: isInstalled("/usr/bin/openssl"), "openssl is not installed"),
    arguments: [1, 2]
  )
  func echoes(loops: Int) throws {
    let path = try #require(try output(of: "mktemp -d").split(separator: "\n").first)
    defer { _ = try? output(of: "rm -r \(path)") }
    try certify(in: String(path))
    let server = try Program(
      "EncryptedEchoServer",
      [
        "\(path)/certificate.pem", "\(path)/key.pem", "--address", "127.0.0.1", "--port", "0", "--loops",
        "\(loops)",
      ]
    )
    let line = try server.nextLine() ?? ""
    guard
      let match = line.wholeMatch(of: /Echo server is listening on 127\.0\.0\.1, port (\d+), with TLS\./)
    else {
      throw UnexpectedOutput(line: line)
    }
    // The client does not end by itself.
    let ask =
      "cd \(path); rm -f in out; mkfifo in out; exec 3<>in\nopenssl s_client -quiet -verify_return_error "
      + "-servername localhost -CAfile certificate.pem -connect 127.0.0.1:\(match.1) <in >out 2>/dev/null & "
      + "printf 'hello\\n' >&3; read line <out; echo $line; kill $!"
    #expect(try output(of: ask) == "hello\n")
    try certify(in: String(path))
    server.send(signal: SIGHUP)
    #expect(try server.nextLine() == "The certificate was read again.")
    #expect(try output(of: ask) == "hello\n")
    _ = try output(of: "echo none > \(path)/certificate.pem")
    server.send(signal: SIGHUP)
    #expect(try server.nextLine()?.hasPrefix("The certificate stays: ") == true)
    server.send(signal: SIGTERM)
    let end = try server.end()
    #expect(end.status == 0)
    #expect(end.output == "Stopped; connections served: 2.\n")
  }

  @Test("Without a certificate that can be used it says why, and ends")
  func refused() throws {
    let end = try Program("EncryptedEchoServer", ["/nowhere/certificate", "/nowhere/key"]).end()
    #expect(end.status != 0)
    #expect(end.errors.contains("certificate"), "\(end.errors)")
  }
}
