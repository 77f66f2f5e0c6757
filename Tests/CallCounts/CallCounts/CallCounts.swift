import AllocationCounter
import Glibc
import TCPServerKit

/// Two programs for scripts/check-call-counts, which counts the system calls of the first:
///
///     CallCounts serve N          listens and prints the port; told to go on by a line, accepts N connections and
///                                 prints how many allocations that took; leaves without closing anything
///     CallCounts connect PORT N   connects N times, prints a line, and stays until its input ends
@main
struct CallCounts {
  static func main() throws {
    let arguments = CommandLine.arguments.dropFirst()
    switch (arguments.first, arguments.dropFirst().compactMap { Int($0) }) {
    case ("serve", let numbers) where numbers.count == 1:
      try serve(numbers[0])
    case ("connect", let numbers) where numbers.count == 2:
      try connect(port: UInt16(numbers[0]), count: numbers[1])
    default:
      fatalError("usage: CallCounts serve N | connect PORT N")
    }
  }

  private static func serve(_ count: Int) throws {
    allocation_counter_reserve()
    let loop = try EventBase()
    let server = TCPServer(eventBase: loop)
    var sockets: [TCPSocket] = []
    sockets.reserveCapacity(count)
    server.newConnection.connect { [unowned server] in
      guard let socket = server.nextPendingConnection() else { return }
      sockets.append(socket)
      if sockets.count == count {
        loop.stop()
      }
    }
    guard server.listen(address: .localHost) else { fatalError(server.errorString) }
    say("\(server.serverPort)")
    _ = readLine()

    let before = allocation_counter_read()
    loop.run()
    let after = allocation_counter_read()

    say("\(after - before)")
    _exit(sockets.count == count ? 0 : 1)
  }

  private static func connect(port: UInt16, count: Int) throws {
    var sockets: [TCPSocket] = []
    for _ in 0..<count {
      let socket = TCPSocket(eventBase: nil)
      socket.connectToHost(.localHost, port: port)
      guard socket.waitForConnected(msec: 10_000) else { fatalError(socket.errorString) }
      sockets.append(socket)
    }
    say("connected")
    _ = readLine()
  }

  private static func say(_ line: String) {
    print(line)
    fflush(nil)
  }
}
