// SPDX-License-Identifier: Apache-2.0

import Glibc
import NIOCore
import NIOPosix

/// SwiftNIO as its echo example uses it: a `ServerBootstrap` with a `ChannelHandler` and the example's options a
/// connection, but without its `BackPressureHandler`, which would only cost something here.
///
/// TCP_NODELAY is set already: NIO does that for the listening socket.
@main
struct NIOServer {
  static func main() throws {
    let mode = CommandLine.arguments.dropFirst().first ?? ""
    let drain = Drain(wanted: CommandLine.arguments.dropFirst(2).first.flatMap(Int.init) ?? 0)
    let workload = Workload()
    let group = MultiThreadedEventLoopGroup(numberOfThreads: workload.loops)
    let bootstrap = ServerBootstrap(group: group)
      .serverChannelOption(.backlog, value: 65535)
      // A batch of connections in each turn of the loop; NIO's own limit is 4.
      .serverChannelOption(.maxMessagesPerRead, value: 64)
      // A channel that does not read listens, but accepts nothing.
      .serverChannelOption(.autoRead, value: mode != "drain")
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          switch mode {
          case "drain": try channel.pipeline.syncOperations.addHandler(drain)
          case "storm": try channel.pipeline.syncOperations.addHandler(Greeting())
          default: try channel.pipeline.syncOperations.addHandler(Echo(burning: workload.burnRounds))
          }
        }
      }
      .childChannelOption(.maxMessagesPerRead, value: 16)
      .childChannelOption(.recvAllocator, value: AdaptiveRecvByteBufferAllocator())
    let server = try bootstrap.bind(host: "127.0.0.1", port: 0).wait()
    workload.startStalls(of: group)
    print("port \(server.localAddress?.port ?? 0)")
    fflush(nil)

    if mode == "drain" {
      _ = readLine()
      drain.start()
      try server.setOption(.autoRead, value: true).wait()
    }
    while readLine() != nil {}
    exit(0)
  }
}

/// Takes the connections that it is given; one for all of them, on their one event loop.
private final class Drain: ChannelInboundHandler, @unchecked Sendable {
  typealias InboundIn = ByteBuffer

  private let wanted: Int
  private var wall = 0
  private var cpu = 0
  private var sum = 0
  private var channels: [any Channel] = []

  init(wanted: Int) {
    self.wanted = wanted
  }

  /// Called before the server channel reads, so before the event loop knows this handler.
  func start() {
    wall = nanoseconds(CLOCK_MONOTONIC)
    cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID)
  }

  func channelActive(context: ChannelHandlerContext) {
    // The channel knows the address; the context would ask the kernel again.
    guard case .v4(let peer) = context.channel.remoteAddress else { return }
    sum += Int(UInt32(bigEndian: peer.address.sin_addr.s_addr) & 0xff) * 65536
    sum += Int(UInt16(bigEndian: peer.address.sin_port))
    channels.append(context.channel)
    if channels.count == wanted {
      let passed = nanoseconds(CLOCK_MONOTONIC) - wall
      let used = nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu
      print("drained \(wanted) \(passed) \(used) \(sum)")
      fflush(nil)
    }
  }
}

private final class Greeting: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  func channelActive(context: ChannelHandlerContext) {
    let greeting = context.channel.allocator.buffer(staticString: "hello, stranger\n")
    context.writeAndFlush(Self.wrapOutboundOut(greeting)).assumeIsolated().whenComplete { _ in
      context.close(promise: nil)
    }
  }
}

private final class Echo: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private let rounds: Int
  private var state: UInt64 = 88_172_645_463_325_252

  init(burning rounds: Int) {
    self.rounds = rounds
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    state = scramble(state, rounds: rounds)
    context.write(data, promise: nil)
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    context.flush()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    context.close(promise: nil)
  }
}

private func nanoseconds(_ clock: clockid_t) -> Int {
  var now = timespec()
  clock_gettime(clock, &now)
  return now.tv_sec * 1_000_000_000 + now.tv_nsec
}
