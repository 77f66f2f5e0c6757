// SPDX-License-Identifier: Apache-2.0

import Glibc
import NIOCore
import NIOPosix
import NIOSSL
import NIOTLS

/// SwiftNIO with NIOSSL as a client: `nio-tls-client PORT AUTHORITIES NAME BYTES`. Sends so many bytes, and prints how many
/// have come back, and the protocol that was agreed.
@main
struct EncryptedEchoClient {
  static func main() throws {
    let arguments = CommandLine.arguments
    guard arguments.count == 5, let port = Int(arguments[1]), let count = Int(arguments[4]) else {
      fatalError("usage: nio-tls-client PORT AUTHORITIES NAME BYTES")
    }
    var configuration = TLSConfiguration.makeClientConfiguration()
    configuration.trustRoots = .file(arguments[2])
    configuration.applicationProtocols = ["http/1.1"]
    let context = try NIOSSLContext(configuration: configuration)
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let outcome = group.next().makePromise(of: String.self)
    let channel = try ClientBootstrap(group: group)
      .channelOption(.allowRemoteHalfClosure, value: true)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          let encryption = try NIOSSLClientHandler(context: context, serverHostname: arguments[3])
          try channel.pipeline.syncOperations.addHandler(encryption)
          try channel.pipeline.syncOperations.addHandler(Comparison(of: count, outcome))
        }
      }
      .connect(host: "127.0.0.1", port: port).wait()
    print(try outcome.futureResult.wait())
    try channel.close().wait()
  }
}

/// Sends a pattern, and compares what comes back.
private final class Comparison: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private let count: Int
  private let outcome: EventLoopPromise<String>
  private var compared = 0
  private var agreed = "no handshake"

  init(of count: Int, _ outcome: EventLoopPromise<String>) {
    self.count = count
    self.outcome = outcome
  }

  private static func byte(at place: Int) -> UInt8 {
    UInt8(truncatingIfNeeded: place &* 7 &+ place / 256)
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    guard case TLSUserEvent.handshakeCompleted(let negotiatedProtocol)? = event as? TLSUserEvent else {
      return context.fireUserInboundEventTriggered(event)
    }
    agreed = negotiatedProtocol ?? "no protocol"
    var buffer = context.channel.allocator.buffer(capacity: count)
    buffer.writeBytes((0..<count).lazy.map(Self.byte))
    context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    for byte in unwrapInboundIn(data).readableBytesView {
      guard byte == Self.byte(at: compared) else { return outcome.fail(Wrong(place: compared)) }
      compared += 1
    }
    if compared == count { outcome.succeed("\(compared) \(agreed)") }
  }

  func channelInactive(context: ChannelHandlerContext) {
    outcome.fail(Wrong(place: compared))
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    outcome.fail(error)
  }
}

private struct Wrong: Error {
  let place: Int
}
