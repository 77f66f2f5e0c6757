// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import TCPServerTLS
import Testing

@Suite("SSLServer and other clients", .enabled(if: Certificates.canBeMade))
struct EncryptedInteroperationTests {
  /// Runs a client as a program of the shell, in which PORT and CA are set, beside an echo server.
  private func output(of command: String) async throws -> String {
    let certificates = try #require(Certificates.shared)
    return try await onLoop { _ in
      let result = Shared("")
      _ = try await whileServingEncrypted(handler: { socket in
        while let line = try await socket.readLine() {
          if text(line)?.hasPrefix("GET ") == true {
            while let header = try await socket.readLine(), header.count > 2 {}
            try await socket.write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n")
            return
          }
          try await socket.write(line)
          // This client does not end its side.
          if text(line) == "last\n" { return }
        }
      }) { server in
        let script =
          "PORT=\(server.serverPort); CA=\(certificates.folder.path)/ca.pem; exec 2>/dev/null\n\(command)"
        let running = Background { () -> String in
          guard let process = ChildProcess(at: "/bin/sh", ["-c", script]) else { return "" }
          var all = ""
          while true {
            let line = process.readLine()
            guard !line.isEmpty else { break }
            all += line
          }
          result.value = all + "."
          return all
        }
        try await until { result.value != "" }
        _ = running.join()
      }
      return String(result.value.dropLast())
    }
  }

  static func has(_ program: String) -> Bool {
    unsafe access("/usr/bin/" + program, X_OK) == 0
  }

  @Test("openssl s_client", arguments: ["-tls1_2", "-tls1_3"])
  func openssl(version: String) async throws {
    let answer = try await output(
      of: "printf 'hello\\nlast\\n' | openssl s_client \(version) -connect 127.0.0.1:$PORT -CAfile $CA "
        + "-verify_return_error -servername localhost -quiet"
    )
    #expect(answer == "hello\nlast\n")
  }

  @Test("curl", .enabled(if: has("curl")))
  func curl() async throws {
    #expect(try await output(of: "curl -sS --cacert $CA https://localhost:$PORT/") == "hello\n")
  }

  @Test("gnutls-cli", .enabled(if: has("gnutls-cli")))
  func gnutls() async throws {
    let answer = try await output(
      // Its input does not end: it would close the connection.
      of:
        "mkfifo $CA.$$; exec 3<>$CA.$$; rm $CA.$$; printf 'GET / HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n' >&3; "
        + "gnutls-cli --x509cafile $CA -p $PORT localhost --logfile=/dev/null <&3 | tail -n 1"
    )
    #expect(answer == "hello\n")
  }
}
