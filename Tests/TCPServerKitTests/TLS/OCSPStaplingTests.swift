// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

@testable import TCPServerTLS

@Suite("Stapled responses of OCSP", .enabled(if: Certificates.canBeMade))
struct OCSPStaplingTests {
  /// What a command of the shell prints, in which FOLDER is set; each line has an end.
  private static func run(_ command: String) async throws -> String {
    let folder = try #require(Certificates.shared).folder.path
    let result = Shared<String?>(nil)
    let running = Background { () -> String in
      let process = ChildProcess(at: "/bin/sh", ["-c", "FOLDER=\(folder); exec 2>/dev/null\n\(command)"])
      var all = ""
      while let line = process?.readLine(), !line.isEmpty { all += line }
      result.value = all
      return all
    }
    try await until { result.value != nil }
    return running.join()
  }

  /// A response of the authority, in which the certificate is good, or revoked.
  private static func response(_ status: String) async throws -> [UInt8] {
    let hex = try await run(
      """
      serial=$(openssl x509 -in $FOLDER/localhost.pem -noout -serial | cut -d= -f2)
      index=$(mktemp) response=$(mktemp)
      printf '\(status)\t300101000000Z\t\(status == "R" ? "250101000000Z" : "")\t%s\tunknown\t/CN=localhost\n' $serial >$index
      openssl ocsp -index $index -CA $FOLDER/ca.pem -rsigner $FOLDER/ca.pem -rkey $FOLDER/ca.key -ndays 2 \
        -issuer $FOLDER/ca.pem -cert $FOLDER/localhost.pem -respout $response >/dev/null
      od -An -v -tx1 $response
      rm -f $index $response
      """
    )
    let bytes = hex.split(whereSeparator: { $0 == " " || $0 == "\n" }).compactMap { UInt8($0, radix: 16) }
    try #require(!bytes.isEmpty)
    return bytes
  }

  @Test("A client that asks gets the response, the new one after a change, and none where there is none")
  func stapling() async throws {
    let (good, revoked) = (try await Self.response("V"), try await Self.response("R"))
    #expect(good != revoked)
    try await onLoop { _ in
      _ = try await whileServingEncrypted(
        { $0.identities[0].ocspResponse = good },
        handler: { socket in
          _ = try await socket.readLine()
          try await socket.write("over\n")
        }
      ) { server in
        let ask =
          "echo | openssl s_client -connect 127.0.0.1:\(server.serverPort) -CAfile $FOLDER/ca.pem -servername localhost"
        for version in ["-tls1_2", "-tls1_3"] {
          server.sslConfiguration.identities[0].ocspResponse = good
          #expect(try await Self.run("\(ask) \(version) -status").contains("Cert Status: good"))
          #expect(try await !Self.run("\(ask) \(version)").contains("Cert Status"))
          server.sslConfiguration.identities[0].ocspResponse = revoked
          #expect(try await Self.run("\(ask) \(version) -status").contains("Cert Status: revoked"))
          server.sslConfiguration.identities[0].ocspResponse = nil
          #expect(try await Self.run("\(ask) \(version) -status").contains("OCSP response: no response sent"))
          // One that is looked up has its own.
          var identity = server.sslConfiguration.identities[0]
          identity.ocspResponse = good
          var configuration = server.sslConfiguration
          configuration.identities = []
          configuration.identityLookup = { [identity] _ in identity }
          try server.setSSLConfiguration(configuration)
          #expect(try await Self.run("\(ask) \(version) -status").contains("Cert Status: good"))
          identity.ocspResponse = []
          configuration.identityLookup = { [identity] _ in identity }
          try server.setSSLConfiguration(configuration)
          #expect(try await Self.run("\(ask) \(version) -status").contains("OCSP response: no response sent"))
          server.sslConfiguration = try Certificates.server()
        }
      }
    }
  }

  @Test("A response that is empty, or too long, is an error of the configuration")
  func tooLong() throws {
    var configuration = try Certificates.server()
    for count in [0, 65_536] {
      configuration.identities[0].ocspResponse = [UInt8](repeating: 1, count: count)
      #expect(throws: SSLError(.configuration, "The response of OCSP is empty, or too long")) {
        try configuration.checkForServer()
      }
    }
    configuration.identities[0].ocspResponse = [UInt8](repeating: 1, count: 65_535)
    try configuration.checkForServer()
  }
}
