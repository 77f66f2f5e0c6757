// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Glibc
import ServerProgram
import TCPServerKit

/// Where a socket is: a host and a port, or a path, as the command line names it.
enum Place: Hashable, Sendable, CustomStringConvertible {
  case port(host: String, UInt16)
  case path(String)

  /// Reads `10.0.0.1:80`, `[2001:db8::1]:80`, `backend.example:80`, `*:80`, `/run/a.socket` or `@name`.
  init(_ text: String) throws {
    if text.hasPrefix("/") || text.hasPrefix("@") {
      guard (2...107).contains(text.utf8.count) else {
        throw ValidationError("'\(text)' is no path of a socket: those have 2 to 107 bytes.")
      }
      self = .path(text)
      return
    }
    guard let colon = text.lastIndex(of: ":"), let port = portNumber(text[text.index(after: colon)...]) else {
      throw ValidationError(
        "'\(text)' is neither HOST:PORT, with a port from 0 to 65535, nor a path that begins with /."
      )
    }
    var host = String(text[..<colon])
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = String(host.dropFirst().dropLast())
    } else if host.contains(":") {
      throw ValidationError("'\(text)': an IPv6 address before a port is written in brackets.")
    }
    guard !host.isEmpty else {
      throw ValidationError("'\(text)' has no host before the port; * is all addresses.")
    }
    self = .port(host: host, port)
  }

  /// One to listen on: an address instead of a name.
  static func toListen(_ text: String) throws -> Place {
    let place = try Place(text)
    if case .port(let host, _) = place { _ = try hostAddressToListen(host) }
    return place
  }

  /// One to connect to.
  static func toConnect(_ text: String) throws -> Place {
    let place = try Place(text)
    if case .port(let host, let port) = place, host == "*" || port == 0 {
      throw ValidationError("'\(text)' is nothing to connect to: name a host, and a port from 1 to 65535.")
    }
    return place
  }

  var isPath: Bool {
    if case .path = self { true } else { false }
  }

  /// Whether it is a name of the kernel's, without a file and its permissions.
  var isAbstract: Bool {
    if case .path(let path) = self { path.hasPrefix("@") } else { false }
  }

  /// Whether what connects to `backend` arrives here.
  func isReached(from backend: Place) -> Bool {
    switch (self, backend) {
    case (.port(let address, let port), .port(let host, let other)):
      port == other && HostAddress(address).map { leadsBack(host, to: $0) } ?? false
    case (.path(let path), .path(let other)): canonical(path) == canonical(other)
    default: false
    }
  }

  /// Whether its host has to be looked up.
  var isName: Bool {
    if case .port(let host, _) = self { HostAddress(host) == nil } else { false }
  }

  var description: String {
    switch self {
    case .port(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    case .path(let path): path
    }
  }
}

/// The path as it is without symbolic links and dots in the name of its folder.
private func canonical(_ path: String) -> String {
  guard let slash = path.lastIndex(of: "/"), let folder = realpath(String(path[...slash]), nil) else {
    return path
  }
  defer { free(folder) }
  return String(cString: folder) + path[slash...]
}

/// Digits alone: `UInt16("+80")` is a number, too.
private func portNumber(_ text: Substring) -> UInt16? {
  text.allSatisfy { ("0"..."9").contains($0) } ? UInt16(text) : nil
}

private func hostAddressToListen(_ text: String) throws -> HostAddress {
  guard let address = HostAddress(text) else {
    throw ValidationError(
      "'\(text)' is no address to listen on: an IPv4 or IPv6 address, or * for all of them."
    )
  }
  return address
}

extension TCPServerGroup {
  func listen(at place: Place) async throws {
    switch place {
    case .port(let host, let port): try await listen(address: try hostAddressToListen(host), port: port)
    case .path(let path): try await listen(path: path)
    }
  }

  /// Where it listens, with the port that the system chose.
  var placeText: String {
    serverPath ?? "\(serverAddress), port \(serverPort)"
  }
}

extension TCPSocket {
  func connect(to place: Place, timeout: Duration) async throws {
    switch place {
    case .port(let host, let port): try await connect(to: host, port: port, timeout: timeout)
    case .path(let path): try await connect(path: path, timeout: timeout)
    }
  }
}
