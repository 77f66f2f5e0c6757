import ArgumentParser
import Glibc
import ServerProgram
import TCPServerKit

/// A file drop behind a SOCKS5 proxy: whoever connects to the proxy's port leaves a file here.
@main
struct Socks5Bind: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "Socks5Bind",
    abstract: "Stores what peers send to a port of a SOCKS5 proxy, a file for each.",
    discussion: "The password for --user is taken from the environment variable SOCKS5_PASSWORD."
  )

  @Argument(help: "The folder to store the files in.")
  var folder: String

  @Option(help: "The proxy's address or name.")
  var proxy: String

  @Option(help: "The proxy's port.")
  var proxyPort: UInt16 = 1080

  @Option(help: "The port to ask the proxy for; 0 for any.")
  var port: UInt16 = 0

  @Option(help: "The user name for the proxy.")
  var user = ""

  @Flag(help: "Send the password to a proxy on another machine, in clear text.")
  var allowClearText = false

  @Option(help: "How many ports of the proxy take peers at once.")
  var ports = 1

  @Option(help: "The longest file to take, in bytes.")
  var limit = 100_000_000

  func validate() throws {
    guard (1...100).contains(ports) else {
      throw ValidationError("--ports takes a number from 1 to 100.")
    }
    guard access(folder, W_OK | X_OK) == 0 else {
      throw ValidationError("'\(folder)' is not a folder that can be written to.")
    }
  }

  func run() throws {
    let loop = try makeEventBase()
    let server = TCPServer(eventBase: loop)
    server.proxy = networkProxy
    server.proxyListening.simultaneousBindings = ports
    var stored = 0

    server.newConnection.connect { [unowned server] in
      guard let socket = server.nextPendingConnection() else { return }
      receive(from: socket) { stored += 1 }
    }
    server.serverAddressChanged.connect { [unowned server] in
      tell("Now reachable at \(places(of: server)).")
    }
    server.acceptError.connect { [unowned server] _ in
      tell("Trying again: \(server.errorString)")
    }
    guard server.listen(port: port) else {
      throw StartFailure(server)
    }
    loop.stopOnSignals(SIGINT, SIGTERM)
    tell("Reachable at \(server.serverAddress), port \(server.serverPort), through \(server.proxy).")

    loop.run()

    tell("Stopped; files stored: \(stored).")
  }

  private var networkProxy: NetworkProxy {
    let password = user.isEmpty ? nil : getenv("SOCKS5_PASSWORD").map { String(cString: $0) }
    var described = NetworkProxy.socks5(
      hostName: proxy,
      port: proxyPort,
      user: user,
      password: password ?? ""
    )
    described.allowsClearTextCredentials = allowClearText
    return described
  }

  private func places(of server: TCPServer) -> String {
    server.proxyBindings.map { "\($0.address), port \($0.port)" }.joined(separator: "; ")
  }

  /// Until the peer ends its side; then it is told that its file is there.
  private func receive(from socket: TCPSocket, whenStored: @escaping () -> Void) {
    guard let file = DroppedFile(in: folder, limit: limit) else {
      socket.write("There is no room for a file.\n")
      return socket.disconnectFromHost()
    }
    let peer = socket.peerAddress
    socket.readyRead.connect { [unowned socket] in
      let fits = file.append(socket.readAll())
      guard !fits, !socket.state.isEnding else { return }
      file.discard()
      socket.write("The file is too long, or there is no room for it.\n")
      socket.disconnectFromHost()
    }
    socket.readChannelFinished.connect { [unowned socket] in
      guard file.keep() else { return }
      whenStored()
      tell("Stored \(file.name): \(file.count) bytes from \(peer).")
      socket.write("Stored \(file.count) bytes.\n")
      socket.disconnectFromHost()
    }
    // Half a file is none.
    socket.disconnected.connect { file.discard() }
  }
}

extension SocketState {
  fileprivate var isEnding: Bool {
    self == .closing || self == .unconnected
  }
}
