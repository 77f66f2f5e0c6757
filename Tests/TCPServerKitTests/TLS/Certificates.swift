// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import TCPServerTLS
import Testing

/// Certificates that `openssl` makes once for the process: of an authority, of two servers and a client.
struct Certificates: Sendable {
  static let shared = try? Certificates()
  /// Whether there is an `openssl` to make them.
  static var canBeMade: Bool { shared != nil }

  let folder: TemporaryFolderPath
  let authority: [UInt8]
  /// The certificate of another authority.
  let selfSigned: String

  final class TemporaryFolderPath: Sendable {
    let path: String

    init() throws {
      var template = Array("/tmp/tcpserverkit-XXXXXX".utf8CString)
      guard let path = unsafe mkdtemp(&template) else { throw TemporaryFolder.POSIXFailure() }
      self.path = unsafe String(cString: path)
      // Static values are not released.
      Self.atExit.withLock { $0.append(self.path) }
      atexit { for path in TemporaryFolderPath.atExit.withLock({ $0 }) { TemporaryFolderPath.remove(path) } }
    }

    private static let atExit = Locked<[String]>([])

    private static func remove(_ path: String) {
      for name in ["ca", "localhost", "other", "client", "stranger"] {
        for ending in [".pem", ".key", ".csr", ".srl", ".ext"] { unsafe unlink(path + "/" + name + ending) }
      }
      unsafe rmdir(path)
    }
  }

  private init() throws {
    folder = try TemporaryFolderPath()
    let path = folder.path
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    var script =
      "set -e; cd \(path); exec 2>/dev/null; openssl req -x509 \(key) -keyout ca.key -out ca.pem -days 30 -subj /CN=Authority;"
    for (name, names) in [
      ("localhost", "DNS:localhost,IP:127.0.0.1"), ("other", "DNS:other.example"), ("client", "DNS:client"),
    ] {
      script += "openssl req -new \(key) -keyout \(name).key -out \(name).csr -subj /CN=\(name);"
      script += "printf 'subjectAltName=\(names)' > \(name).ext;"
      script +=
        "openssl x509 -req -in \(name).csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile \(name).ext -out \(name).pem;"
    }
    script += "cat ca.pem >> client.pem;"
    script += "openssl req -x509 \(key) -keyout stranger.key -out stranger.pem -days 30 -subj /CN=Stranger;"
    script += "cat ca.pem; echo; cat stranger.pem"
    guard let process = ChildProcess(at: "/bin/sh", ["-c", script]) else {
      throw TemporaryFolder.POSIXFailure()
    }
    var text = ""
    while true {
      let line = process.readLine()
      guard !line.isEmpty else { break }
      text += line
    }
    guard text.hasPrefix("-----BEGIN CERTIFICATE") else { throw TemporaryFolder.POSIXFailure() }
    let ends = text.split(separator: "\n\n", maxSplits: 1)
    guard let first = ends.first, let second = ends.last else { throw TemporaryFolder.POSIXFailure() }
    authority = Array((first + "\n").utf8)
    selfSigned = String(second)
  }

  func identity(_ name: String, serverNames: [String] = []) throws -> SSLIdentity {
    try SSLIdentity(
      certificateFile: "\(folder.path)/\(name).pem",
      keyFile: "\(folder.path)/\(name).key",
      serverNames: serverNames
    )
  }

  /// For servers that are called localhost.
  static func server() throws -> SSLConfiguration {
    var configuration = SSLConfiguration()
    configuration.identities = [try #require(shared).identity("localhost")]
    return configuration
  }

  /// For clients that trust them.
  static func client() throws -> SSLConfiguration {
    var configuration = SSLConfiguration()
    configuration.caCertificates = try #require(shared).authority
    return configuration
  }
}

/// A server that listens, and whose certificate is for localhost.
func listeningEncrypted(
  on base: EventBase? = .current,
  _ change: (inout SSLConfiguration) throws -> Void = { _ in }
) throws -> SSLServer {
  let server = SSLServer(eventBase: base)
  var configuration = try Certificates.server()
  try change(&configuration)
  try server.setSSLConfiguration(configuration)
  // A test that is held up must not run into the deadline of its clients.
  server.handshakeTimeout = Loop.limit
  try #require(server.listen(address: .localHost))
  return server
}

/// An encrypted connection to it.
func encryptedClient(
  of server: TCPServer,
  resuming session: [UInt8] = [],
  _ change: (inout SSLConfiguration) throws -> Void = { _ in }
) async throws -> TCPSocket {
  try await encryptedClient(port: server.serverPort, resuming: session, change)
}

func encryptedClient(
  port: UInt16,
  resuming session: [UInt8] = [],
  _ change: (inout SSLConfiguration) throws -> Void = { _ in }
) async throws -> TCPSocket {
  var configuration = try Certificates.client()
  try change(&configuration)
  let socket = TCPSocket()
  try await socket.connect(to: "127.0.0.1", port: port)
  try await socket.startClientEncryption(
    configuration,
    serverName: "localhost",
    resuming: session,
    timeout: Loop.limit
  )
  return socket
}

/// Serves with `handler` while `body` runs beside it, then cancels the server.
@discardableResult
func whileServingEncrypted(
  _ change: (inout SSLConfiguration) throws -> Void = { _ in },
  handler: @escaping @Sendable (TCPSocket) async throws -> Void,
  _ body: (SSLServer) async throws -> Void
) async throws -> ServingReport {
  let server = try listeningEncrypted(change)
  return try await whileServing(on: server, handler: handler, body)
}

/// Sends back what arrives.
@Sendable func echo(_ socket: TCPSocket) async throws {
  while let bytes = try await socket.read(maxLength: 65536) { try await socket.write(bytes) }
}

/// All that comes until the end.
func readToEnd(_ socket: TCPSocket) async throws -> [UInt8] {
  var all: [UInt8] = []
  while let bytes = try await socket.read(maxLength: 65536) { all += bytes }
  return all
}

extension TCPSocket {
  /// The form of `write` that does not wait, in a task.
  func writeAtOnce(_ pieces: [[UInt8]]) {
    write(pieces: pieces)
  }
}

/// Whether a client with a certificate gets its byte back.
func isServed(_ server: TCPServer, as name: String) async throws -> Bool {
  let identity = try #require(Certificates.shared).identity(name)
  do {
    let client = try await encryptedClient(of: server) { $0.identities = [identity] }
    try await client.write("x")
    return try await client.read(maxLength: 1) == [120]
  } catch is SSLError {
    return false
  } catch is SocketError {
    return false
  }
}
