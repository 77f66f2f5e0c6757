// SPDX-License-Identifier: Apache-2.0

import Crypto

/// Twenty bytes: the hash of a piece, and the name of a torrent.
package struct SHA1Hash: Hashable, Sendable {
  package static let size = 20

  package let bytes: [UInt8]

  /// Takes a hash that was received; nil unless it is 20 bytes.
  package init?(_ bytes: some Collection<UInt8>) {
    guard bytes.count == Self.size else { return nil }
    self.bytes = Array(bytes)
  }

  package init(of data: some Collection<UInt8>) {
    var hasher = Hasher()
    hasher.update(data)
    self = hasher.finish()
  }

  private init(digest: Insecure.SHA1Digest) {
    bytes = Array(digest)
  }

  /// Hashes what does not lie in memory all at once.
  package struct Hasher {
    private var state = Insecure.SHA1()

    package init() {}

    package mutating func update(_ data: some Collection<UInt8>) {
      let wasContiguous: Void? = data.withContiguousStorageIfAvailable { bytes in
        state.update(bufferPointer: UnsafeRawBufferPointer(bytes))
      }
      if wasContiguous == nil {
        state.update(data: Array(data))
      }
    }

    package func finish() -> SHA1Hash {
      SHA1Hash(digest: state.finalize())
    }
  }
}
