// SPDX-License-Identifier: Apache-2.0

import TCPServerTLS

/// What the command line says.
///
/// `FOLDER KEY-TYPE VERIFY [NAME NUMBER]...`: the folder has, for each type of key, `default-TYPE.pem`, `exact-TYPE.pem`
/// and `wildcard-TYPE.pem`, with certificates and keys, and `authority.pem`. The numbers are `loops`, `timeout` of a
/// handshake in milliseconds, `handshakes`, the most at once, and `threads`, which make them. `control` has a path in
/// place of a number, at which the processes of a hot restart meet.
struct Options: Sendable {
  private let folder: String
  private let keyType: String
  private let verifyMode: SSLPeerVerifyMode
  private(set) var loops = 1
  private(set) var handshakeTimeout = Duration.seconds(5)
  private(set) var maxHandshakes = 1024
  private(set) var threads = 0
  private(set) var control: String?

  struct Wrong: Error, CustomStringConvertible {
    let description: String
  }

  init(_ words: ArraySlice<String>) throws {
    let words = Array(words)
    let modes: [String: SSLPeerVerifyMode] = ["none": .none, "query": .query, "verify": .verify]
    guard words.count >= 3, words.count % 2 == 1, let verifyMode = modes[words[2]] else {
      throw Wrong(description: "usage: TLSJudgedServer FOLDER KEY-TYPE none|query|verify [NAME NUMBER]...")
    }
    (folder, keyType, self.verifyMode) = (words[0], words[1], verifyMode)
    for place in stride(from: 3, to: words.count, by: 2) {
      if words[place] == "control" {
        control = words[place + 1]
        continue
      }
      guard let number = Int(words[place + 1]) else {
        throw Wrong(description: "\(words[place + 1]) is no number")
      }
      switch words[place] {
      case "loops": loops = number
      case "timeout": handshakeTimeout = .milliseconds(number)
      case "handshakes": maxHandshakes = number
      case "threads": threads = number
      default: throw Wrong(description: "there is no option \(words[place])")
      }
    }
  }

  func configuration() throws -> SSLConfiguration {
    var configuration = SSLConfiguration()
    configuration.identities = try [
      ("default", []), ("exact", ["www.example.com"]), ("wildcard", ["*.example.com"]),
    ]
    .map { name, serverNames in
      let file = "\(folder)/\(name)-\(keyType).pem"
      return try SSLIdentity(certificateFile: file, keyFile: file, serverNames: serverNames)
    }
    configuration.applicationProtocols = ["h2", "http/1.1"]
    configuration.peerVerifyMode = verifyMode
    configuration.caCertificatesFile = "\(folder)/authority.pem"
    return configuration
  }
}
