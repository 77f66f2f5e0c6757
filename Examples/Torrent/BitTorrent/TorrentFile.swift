// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Reads torrent files, which may be anything.
package enum TorrentFile {
  package static func read(_ path: String) throws(StorageError) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw StorageError("Unable to open it: \(systemText(errno))") }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    // One byte more than a torrent file may have shows that it is too long.
    while bytes.count <= Metainfo.mostBytes {
      var outcome = 0
      let chunk = [UInt8](unsafeUninitializedCapacity: 1 << 16) { room, count in
        outcome = Glibc.read(descriptor, room.baseAddress, room.count)
        count = max(outcome, 0)
      }
      guard outcome >= 0 else { throw StorageError("Unable to read it: \(systemText(errno))") }
      guard outcome > 0 else { break }
      bytes += chunk
    }
    return bytes
  }
}
