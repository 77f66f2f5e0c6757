// SPDX-License-Identifier: Apache-2.0

import Glibc
import TCPServerKit
import Testing

#if DEBUG
  @Suite("Use from another thread", .timeLimit(.minutes(5)))
  struct ThreadCheckTests {
    private static let advice = "EventBase.execute(_:)"

    @Test("A server used from another thread while the loop runs stops the program and says what to do")
    func server() async {
      let result = await #expect(
        processExitsWith: .failure,
        observing: [\.standardErrorContent]
      ) {
        guard let base = try? EventBase() else { exit(0) }
        let server = TCPServer(eventBase: base)
        base.execute {
          OtherThread { server.listen(address: .localHost) }.join()
          exit(0)
        }
        base.runBlocking()
      }
      #expect(text(result?.standardErrorContent)?.contains(Self.advice) == true)
    }

    @Test("So does a socket")
    func socket() async {
      let result = await #expect(
        processExitsWith: .failure,
        observing: [\.standardErrorContent]
      ) {
        guard let base = try? EventBase(), let pair = try? connectedPair(base) else { exit(0) }
        let socket = pair.socket
        base.execute {
          OtherThread { socket.readyRead.connect {} }.join()
          exit(0)
        }
        base.runBlocking()
      }
      #expect(text(result?.standardErrorContent)?.contains(Self.advice) == true)
    }

    @Test("An async call of a socket without an event base stops the program on a second thread")
    func withoutEventBase() async {
      let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
        let socket = TCPSocket(eventBase: nil)
        OtherThread { _ = socket.bytesAvailable }.join()
        _ = try? await socket.read(maxLength: 1)
        exit(0)
      }
      let call = "An async call of a TCPSocket without an EventBase"
      #expect(text(result?.standardErrorContent)?.contains(call) == true)
    }

    @Test("A loop that a second thread runs meanwhile stops the program", arguments: [0, 1, 2])
    func loop(call: Int) async {
      let result = await #expect(
        processExitsWith: .failure,
        observing: [\.standardErrorContent]
      ) { [call] in
        guard let base = try? EventBase() else { exit(0) }
        base.execute {
          OtherThread {
            switch call {
            case 0: base.run()
            case 1: base.runOnce(timeout: .zero)
            default: try? base.run {}
            }
          }.join()
          exit(0)
        }
        base.runBlocking()
      }
      let explanation =
        "An EventBase was run by a thread while another runs it. Give each thread an EventBase of its own."
      #expect(text(result?.standardErrorContent)?.contains(explanation) == true)
    }

    @Test("A loop that does not run may be prepared on one thread and run on another")
    func prepared() throws {
      let base = try EventBase()
      let server = TCPServer(eventBase: base)
      let isListening = server.listen(address: .localHost)
      #expect(isListening)
      server.newConnection.connect {
        server.nextPendingConnection()?.write("hello")
        base.stop()
      }
      let port = server.serverPort
      let thread = OtherThread { base.run() }
      let peer = try #require(PlainClient(port: port))
      #expect(text(peer.receive(exactly: 5)) == "hello")
      thread.join()
    }
  }
#endif
