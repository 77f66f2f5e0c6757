// SPDX-License-Identifier: Apache-2.0

import NIOCore

/// Sends back what comes, up to its end or a long silence, then closes the channel.
final class Echo: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  /// Closes the channel, unless it is cancelled by the first byte.
  private let firstByteDeadline: Scheduled<Void>

  private init(firstByteDeadline: Scheduled<Void>) {
    self.firstByteDeadline = firstByteDeadline
  }

  /// Makes a channel one that echoes, as a `channelInitializer` does.
  ///
  /// - Parameters:
  ///   - firstByte: how long the client may take to send its first byte.
  ///   - idle: how long the connection may be silent.
  static func serve(
    _ channel: any Channel,
    firstByte: TimeAmount,
    idle: TimeAmount
  ) -> EventLoopFuture<Void> {
    channel.setOption(.allowRemoteHalfClosure, value: true).flatMapThrowing {
      let deadline = channel.eventLoop.scheduleTask(in: firstByte) {
        channel.close(promise: nil)
      }
      channel.closeFuture.whenComplete { _ in deadline.cancel() }
      // No more is read while a client does not read what it was sent.
      try channel.pipeline.syncOperations.addHandlers(
        IdleStateHandler(allTimeout: idle),
        BackPressureHandler(),
        Echo(firstByteDeadline: deadline)
      )
    }
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    firstByteDeadline.cancel()
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
    } else if event is IdleStateHandler.IdleStateEvent {
      context.close(promise: nil)
    }
    context.fireUserInboundEventTriggered(event)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    context.close(promise: nil)
  }
}
