// SPDX-License-Identifier: Apache-2.0

import TCPServerKit

/// The members, on the loop's thread as their sockets are: a call by a handler changes no thread.
actor Room {
  private let base: EventBase
  private var members: [String: TCPSocket] = [:]

  nonisolated var unownedExecutor: UnownedSerialExecutor { base.serialExecutor.asUnownedSerialExecutor() }

  init(on base: EventBase) {
    self.base = base
  }

  /// - Returns: false when there is a member of that name.
  func join(_ socket: TCPSocket, as name: String) -> Bool {
    guard members[name] == nil else { return false }
    members[name] = socket
    send("* \(name) has joined; members: \(members.count).")
    return true
  }

  func leave(_ name: String) {
    members[name] = nil
    send("* \(name) has left; members: \(members.count).")
  }

  /// Writes to all but the sender. No write waits: what a member does not take is held for it, up to its
  /// `writeBufferLimit`, and the others have it meanwhile.
  func send(_ text: String, from sender: String? = nil) {
    let line = Array("\(text)\n".utf8)
    for (name, member) in members where name != sender {
      member.write(line)
    }
  }
}
