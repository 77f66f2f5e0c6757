// SPDX-License-Identifier: Apache-2.0

import Glibc
import ProgramTesting
import Testing

/// The backend is an echo server: what comes back to a client begins with the header that the gateway has sent there.
@Suite("Gateway and PROXY headers", .blocking, .timeLimit(.minutes(5)))
struct GatewayHeaderTests {
  /// `GATEWAY_TEST_CONNECTIONS=100000` is the long form.
  private static let count = getenv("GATEWAY_TEST_CONNECTIONS").flatMap { Int(String(cString: $0)) } ?? 3_000

  private static let line = "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"

  @Test("A backend is sent the client's address, and that of the gateway, in version 1")
  func version1() throws {
    let echo = try Listening.echo()
    let gateway = try Listening.gateway(to: [echo.port], ["--send-proxy", "v1"])
    let client = try #require(Connection(port: gateway.port))
    let own = client.localPort
    #expect(client.exchange() == "PROXY TCP4 127.0.0.1 127.0.0.1 \(own) \(gateway.port)\r\n!")
  }

  @Test("Behind a proxy a header is required, and what it says goes on to the backend")
  func behindProxy() throws {
    let echo = try Listening.echo()
    let options = ["--send-proxy", "v1", "--behind-proxy", "127.0.0.0/8", "10.0.0.0/8"]
    let gateway = try Listening.gateway(to: [echo.port], options)
    let proxy = try #require(Connection(port: gateway.port))
    proxy.send(Self.line.utf8)
    #expect(proxy.exchange() == Self.line + "!")
    let stranger = try #require(Connection(port: gateway.port))
    stranger.send("GET / HTTP/1.1\r\n".utf8)
    #expect(stranger.isEnded())
    // Others are closed unread.
    let elsewhere = try Listening.gateway(to: [echo.port], ["--behind-proxy", "10.0.0.0/8"])
    let untrusted = try #require(Connection(port: elsewhere.port))
    untrusted.send(Self.line.utf8)
    #expect(untrusted.isEnded())
  }

  @Test("In version 2 the TLVs and the checksum go on, too, and the header is the same to the byte")
  func tlvs() throws {
    let echo = try Listening.echo()
    let options = ["--send-proxy", "v2", "--behind-proxy", "127.0.0.1"]
    let gateway = try Listening.gateway(to: [echo.port], options)
    // Of 192.0.2.1:56324 and 198.51.100.2:443, with an authority.
    let header: [UInt8] =
      Array("\r\n\r\n".utf8) + [0] + Array("\r\nQUIT\n".utf8) + [0x21, 0x11, 0, 12 + 3 + 4]
      + [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb] + [2, 0, 4] + Array("a.io".utf8)
    let proxy = try #require(Connection(port: gateway.port))
    proxy.send(header + [UInt8(ascii: "!")])
    proxy.endSending()
    #expect(proxy.receiveToEnd() == header + [UInt8(ascii: "!")])
  }

  @Test("A client without an address is unknown to the backend")
  func unknown() throws {
    let echo = try Listening.echo()
    let folder = try TemporaryFolder()
    let path = folder.path + "/socket"
    let gateway = try Program(
      "Gateway",
      ["--listen", path, "--backend", "127.0.0.1:\(echo.port)", "--send-proxy", "v1"]
    )
    #expect(try gateway.nextLine() == "Gateway is listening on \(path).")
    #expect(try #require(Connection(path: path)).exchange() == "PROXY UNKNOWN\r\n!")
  }

  // MARK: - Real proxies

  /// Clients of a port at the same time, each of which expects a line of version 1 with its own port.
  private func compare(through port: UInt16) async throws {
    let seen = await withTaskGroup(of: (wrong: Int, lost: Int).self) { group in
      for share in 0..<4 {
        group.addTask { Self.ask(port, Self.count / 4 + (share < Self.count % 4 ? 1 : 0)) }
      }
      return await group.reduce((wrong: 0, lost: 0)) { ($0.wrong + $1.wrong, $0.lost + $1.lost) }
    }
    #expect(seen.wrong == 0, "with another address, of \(Self.count)")
    #expect(seen.lost == 0, "lost, of \(Self.count)")
  }

  private static func ask(_ port: UInt16, _ count: Int) -> (wrong: Int, lost: Int) {
    var (wrong, lost) = (0, 0)
    for _ in 0..<count {
      guard let client = Connection(port: port) else {
        lost += 1
        continue
      }
      let own = client.localPort
      guard let answer = client.exchange(), answer.hasSuffix("!") else {
        lost += 1
        continue
      }
      if answer != "PROXY TCP4 127.0.0.1 127.0.0.1 \(own) \(port)\r\n!" { wrong += 1 }
    }
    return (wrong, lost)
  }

  private static let defaults = """
    defaults
      mode tcp
      timeout connect 30s
      timeout client 60s
      timeout server 60s

    """

  @Test(
    "Between two HAProxies each client has its own address, and none is lost",
    .enabled(if: isInstalled(RealProxy.Kind.haproxy.rawValue), "haproxy is not installed")
  )
  func haproxies() async throws {
    let echo = try Listening.echo()
    let folders = (before: try TemporaryFolder(), behind: try TemporaryFolder())
    let back = try RealProxy(.haproxy, in: folders.behind) { port in
      Self.defaults + """
        listen back
          bind 127.0.0.1:\(port) accept-proxy
          server echo 127.0.0.1:\(echo.port) send-proxy

        """
    }
    let options = ["--behind-proxy", "127.0.0.0/8", "--send-proxy", "v2", "--loops", "2"]
    let gateway = try Listening.gateway(to: [back.port], options)
    let front = try RealProxy(.haproxy, in: folders.before) { port in
      Self.defaults + """
        listen front
          bind 127.0.0.1:\(port)
          server gateway 127.0.0.1:\(gateway.port) send-proxy-v2 proxy-v2-options crc32c

        """
    }
    try await compare(through: front.port)
    #expect(try gateway.stop().contains(" without a backend: 0;"))
  }

  @Test(
    "Behind nginx, at a path, each client has its own address, and none is lost",
    .enabled(if: isInstalled(RealProxy.Kind.nginx.rawValue), "nginx is not installed")
  )
  func nginx() async throws {
    let echo = try Listening.echo()
    let folder = try TemporaryFolder()
    let path = folder.path + "/socket"
    let gateway = try Program(
      "Gateway",
      [
        "--listen", path, "--backend", "127.0.0.1:\(echo.port)", "--behind-proxy", "unix:", "--send-proxy",
        "v1",
      ]
    )
    #expect(try gateway.nextLine() == "Gateway is listening on \(path).")
    let module = "/usr/lib/nginx/modules/ngx_stream_module.so"
    let front = try RealProxy(.nginx, in: folder) { port in
      """
      \(access(module, F_OK) == 0 ? "load_module \(module);" : "")
      \(getuid() == 0 ? "user root root;" : "")
      daemon off;
      pid \(folder.path)/pid;
      events { worker_connections 4096; }
      stream {
        server { listen 127.0.0.1:\(port); proxy_pass unix:\(path); proxy_protocol on; proxy_half_close on; }
      }

      """
    }
    try await compare(through: front.port)
    gateway.send(signal: SIGTERM)
    #expect(try gateway.end().output.contains(" without a backend: 0;"))
  }
}
