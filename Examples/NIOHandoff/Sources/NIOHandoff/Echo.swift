import NIOCore

/// Sends back what comes, up to its end, then closes the channel.
final class Echo: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  /// Makes a channel one that echoes, as a `channelInitializer` does.
  static func serve(_ channel: any Channel) -> EventLoopFuture<Void> {
    channel.setOption(.allowRemoteHalfClosure, value: true).flatMapThrowing {
      // No more is read while a client does not read what it was sent.
      try channel.pipeline.syncOperations.addHandlers(BackPressureHandler(), Echo())
    }
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    context.write(data, promise: nil)
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    context.flush()
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if let event = event as? ChannelEvent, event == .inputClosed {
      let channel = context.channel
      // Written after everything else, so its end is that of all.
      context.writeAndFlush(wrapOutboundOut(ByteBuffer())).whenComplete { _ in
        channel.close(promise: nil)
      }
    }
    context.fireUserInboundEventTriggered(event)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    context.close(promise: nil)
  }
}
