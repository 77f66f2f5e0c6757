// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import TCPServerTLS

/// One connection: "?" and a newline are answered by what was agreed with the client, a request of HTTP, which has to come
/// in one piece, by a page, and everything else by itself.
struct Answering {
  private let socket: TCPSocket
  private let loop: Int

  init(_ socket: TCPSocket, _ loops: EventBaseGroup) {
    self.socket = socket
    loop = loops.eventBases.firstIndex { $0 === EventBase.current } ?? -1
  }

  func run() async throws {
    while let bytes = try await socket.read(maxLength: 65536) {
      if bytes.elementsEqual("?\n".utf8) {
        try await socket.write("\(agreed)\n")
      } else if bytes.starts(with: "GET ".utf8) {
        try await socket.write(Self.page)
      } else {
        try await socket.write(bytes)
      }
    }
  }

  private static let page = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nHello\n"

  private var agreed: String {
    guard let encryption = socket.encryption else { return "loop=\(loop)" }
    return [
      "loop=\(loop)", "version=\(encryption.version)", "cipher=\(encryption.cipher)",
      "protocol=\(encryption.applicationProtocol ?? "-")", "name=\(encryption.serverName ?? "-")",
      "resumed=\(encryption.isResumed)", "certificates=\(encryption.peerCertificates.count)",
      "verification=\(encryption.verification)",
    ].joined(separator: " ")
  }
}
