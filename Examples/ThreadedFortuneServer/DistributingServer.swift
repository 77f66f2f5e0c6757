// SPDX-License-Identifier: Apache-2.0

import FortuneWire
import ServerProgram
import TCPServerKit

/// Gives the descriptor of each client to another thread, instead of queuing the connection.
final class DistributingServer: TCPServer, @unchecked Sendable {
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
    let permit = takeIncomingPermit()
    let reply = Fortunes.reply(framing: framing)
    let client = Client(descriptor: socketDescriptor, reply: reply, patience: patience) {
      [loop, weak self] failure in
      loop.execute { [weak self] in
        self?.clientEnded(failure)
        // After it was counted: the program ends when no connection is left.
        permit?.release()
      }
    }
    do {
      try workplace.serve(client)
    } catch {
      client.end("\(error)")
    }
  }

  private func clientEnded(_ failure: String?) {
    if let failure {
      printLine("A client was not served: \(failure).")
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
