// SPDX-License-Identifier: Apache-2.0

// Programs that a service manager starts.

import Glibc
import TCPServerKit

func inherited() {
  do {
    let sockets = try InheritedSockets.fromEnvironment()
    say("inherited \(sockets.names)")
  } catch {
    say(error.description)
  }
}

/// Answers one client with the address and port that it has connected to.
func activated() throws {
  let inherited = try InheritedSockets.fromEnvironment()
  say("inherited \(inherited.names)")
  try EventBaseGroup.run(loops: 2) { group in
    let server = TCPServerGroup(on: group)
    try await server.listen(on: .inherited("http", from: inherited, port: 0))
    say("left \(inherited.names), LISTEN_FDS is \(unsafe getenv("LISTEN_FDS") == nil ? "not set" : "set")")
    inherited.closeRest()
    let shutdown = GracefulShutdown()
    try await server.serve(shutdown: shutdown) { socket in
      try await socket.write("\(server.serverAddress):\(server.serverPort)\n")
      shutdown.begin()
    }
  }
}

/// Answers the one client that it was started for.
func activatedForOne() throws {
  let inherited = try InheritedSockets.fromEnvironment()
  guard let name = inherited.names.first, let descriptor = inherited.takeDescriptor(named: name) else {
    return say("no connection")
  }
  try EventBase().run {
    let socket = TCPSocket()
    guard socket.setSocketDescriptor(descriptor) else { return say(socket.errorString) }
    guard let line = try await socket.readLine() else { return }
    try await socket.write(String(decoding: line, as: UTF8.self).uppercased())
    _ = await socket.closeGracefully()
  }
}

/// Sends what a service does in its life, as its environment says.
func notifies() throws {
  guard let notifier = ServiceNotifier() else { return say("no manager") }
  say("watchdog \(notifier.watchdogInterval?.description ?? "none")")
  try EventBase().run {
    notifier.ready(status: "Serving")
    notifier.stopping()
    say("read: \(await notifier.barrier(timeout: .seconds(240)))")
  }
}
