// SPDX-License-Identifier: Apache-2.0

import Foundation
import ProgramTesting

/// libtorrent, as Debian's qBittorrent and Deluge use it, through its module for Python.
final class LibtorrentPeer {
  private let program: Program
  let port: UInt16

  private static let script = """
    import sys, time, libtorrent
    torrent, folder, port, peer, has_all = sys.argv[1:]
    session = libtorrent.session({
        "listen_interfaces": "127.0.0.1:" + port, "allow_multiple_connections_per_ip": True,
        "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
        "enable_outgoing_utp": False, "enable_incoming_utp": False})
    handle = session.add_torrent({"ti": libtorrent.torrent_info(torrent), "save_path": folder})
    def wait_for_seed():
        while not handle.status().is_seeding:
            time.sleep(0.02)
    if has_all == "True":
        wait_for_seed()
    else:
        handle.connect_peer(("127.0.0.1", int(peer)))
    print("Ready.", flush=True)
    wait_for_seed()
    print("Complete.", flush=True)
    while has_all == "True":
        time.sleep(1)
    """

  private init(_ torrent: String, directory: String, peer: UInt16, hasAll: Bool) throws {
    port = Ports.free()
    let arguments = [torrent, directory, "\(port)", "\(peer)", hasAll ? "True" : "False"]
    program = try Program(path: Tools.python, ["-c", Self.script] + arguments)
    try read("Ready.")
  }

  /// One that has all of it.
  static func seeder(_ torrent: String, directory: String) throws -> LibtorrentPeer {
    try LibtorrentPeer(torrent, directory: directory, peer: 0, hasAll: true)
  }

  /// One that gets it from the peer there.
  static func downloader(_ torrent: String, directory: String, from peer: UInt16) throws -> LibtorrentPeer {
    try LibtorrentPeer(torrent, directory: directory, peer: peer, hasAll: false)
  }

  private func read(_ expected: String) throws {
    let line = try program.nextLine(within: Content.limit)
    guard line == expected else { throw UnexpectedOutput(line: "\(line ?? "") \(try program.end())") }
  }

  /// Waits until it has all.
  func complete() throws {
    try read("Complete.")
    _ = try program.end()
  }
}
