// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit

/// The loop of this thread, and others on threads of their own, which run for good.
func loops(_ count: Int, with first: EventBase) throws -> [EventBase] {
  try [first]
    + (1..<count).map { _ in
      let loop = try EventBase()
      var thread = pthread_t()
      let runLoop: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { context in
        context.map { Unmanaged<EventBase>.fromOpaque($0).takeRetainedValue().run() }
        return nil
      }
      guard pthread_create(&thread, nil, runLoop, Unmanaged.passRetained(loop).toOpaque()) == 0 else {
        throw StartFailure(reason: "no thread for a loop")
      }
      return loop
    }
}

/// Hands its connections to loops in turn, where their signals have handlers.
final class SharingServer: TCPServer, @unchecked Sendable {
  private let loops: [EventBase]
  private let load: Load
  private var count = 0

  init(loops: [EventBase], load: Load) {
    self.loops = loops
    self.load = load
    super.init(eventBase: loops[0])
  }

  override func incomingConnection(_ socketDescriptor: CInt) {
    let loop = loops[count % loops.count]
    count += 1
    loop.execute { [load] in
      let socket = TCPSocket(eventBase: loop)
      if socket.setSocketDescriptor(socketDescriptor) {
        answer(socket, load)
      } else {
        Glibc.close(socketDescriptor)
      }
    }
  }
}

/// Hands the connections of the sequence to loops in turn, each to a task.
func share(_ server: TCPServer, among loops: [EventBase], _ load: Load) async throws {
  try await withThrowingDiscardingTaskGroup { group in
    var count = 0
    for try await connection in server.incomingConnections {
      let loop = loops[count % loops.count]
      count += 1
      group.addTask(executorPreference: loop.taskExecutor) {
        // An error ends this connection only.
        guard let socket = try? connection.socket(on: loop) else { return }
        if case .storm = load {
          try? await greet(socket)
        } else {
          try? await echo(socket)
        }
      }
    }
  }
}
