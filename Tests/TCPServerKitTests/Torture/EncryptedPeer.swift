// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit

@testable import TCPServerTLS

/// The other side of an encrypted connection, whose own calls never fail. Each look at ``text`` goes on with the handshake,
/// sends and receives.
final class EncryptedPeer {
  private let client: TortureClient
  private let transport: SSLTransport
  private var isReady = false
  private var outgoing: [UInt8]
  private var bytes: [UInt8] = []

  init(_ client: TortureClient, isClient: Bool, sending text: String) throws {
    self.client = client
    outgoing = Array(text.utf8)
    transport = try aside {
      // Its message would wait for an acknowledgement of its handshake, for longer than the stopped clock allows.
      let descriptor = client.plain?.descriptor ?? -1
      Descriptors.setOption(descriptor, CInt(IPPROTO_TCP), TCP_NODELAY, 1)
      let configuration = try isClient ? Certificates.client() : Certificates.server()
      let context = try SSLContext(configuration, for: SSLContextCache.Use(isClient: isClient))
      let made = SSLTransport(
        context,
        of: TCPSocket(eventBase: nil),
        descriptor: descriptor,
        clientOf: isClient ? "localhost" : nil
      )
      guard let made else { throw SSLError.outOfMemory }
      return made
    }
  }

  /// What it has received so far.
  var text: String {
    aside { goOn() }
    return String(decoding: bytes, as: UTF8.self)
  }

  private func goOn() {
    if !isReady {
      guard case .done = transport.handshake() else { return }
      isReady = true
    }
    if !outgoing.isEmpty {
      let sent = unsafe outgoing.withUnsafeBytes { unsafe transport.send($0) }
      if case .count(let count) = sent { outgoing.removeFirst(count) }
    }
    unsafe withUnsafeTemporaryAllocation(byteCount: 64, alignment: 1) { buffer in
      while case .count(let count) = unsafe transport.receive(into: buffer), count > 0 {
        unsafe bytes += buffer[..<count]
      }
    }
  }
}
