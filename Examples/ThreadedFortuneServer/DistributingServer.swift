import FortuneWire
import ServerProgram
import TCPServerKit

/// Gives the descriptor of each client to another thread, instead of queuing the connection.
final class DistributingServer: TCPServer {
  private let loop: EventBase
  private let framing: FortuneWire.Framing
  private let workplace: any Workplace
  private let patience: Duration
  /// How many clients have got a fortune.
  private(set) var served = 0

  init(loop: EventBase, framing: FortuneWire.Framing, workplace: any Workplace, patience: Duration) {
    self.loop = loop
    self.framing = framing
    self.workplace = workplace
    self.patience = patience
    super.init(eventBase: loop)
  }

  override func incomingConnection(_ socketDescriptor: CInt) {
    let address = ReplyAddress(server: self)
    let reply = Fortunes.reply(framing: framing)
    let client = Client(descriptor: socketDescriptor, reply: reply, patience: patience) { [loop] failure in
      loop.execute { address.server?.clientEnded(failure) }
    }
    do {
      try workplace.serve(client)
    } catch {
      client.end("\(error)")
    }
  }

  private func clientEnded(_ failure: String?) {
    connectionEnded()
    if let failure {
      tell("A client was not served: \(failure).")
    } else {
      served += 1
    }
  }
}

/// Where clients are served.
protocol Workplace {
  /// Takes a client, or throws why it cannot.
  func serve(_ client: Client) throws
}

/// By which other threads find the server again: on its loop, the only place where it is touched. Weak, so that
/// the server ends there, too.
private final class ReplyAddress: @unchecked Sendable {
  weak var server: DistributingServer?

  init(server: DistributingServer) {
    self.server = server
  }
}
