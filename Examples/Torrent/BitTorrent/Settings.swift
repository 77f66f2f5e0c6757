// SPDX-License-Identifier: Apache-2.0

import TCPServerKit

/// What a client may do. Times are in seconds.
package struct Settings {
  package var address = HostAddress.any
  package var ports: ClosedRange<UInt16> = 6881...7000
  package var folder: String
  /// How many connections there may be, in and out together.
  package var mostConnections = 250
  /// Bytes a second.
  package var downloadLimit: Int?
  package var uploadLimit: Int?
  /// Whether it goes on when all torrents are complete.
  package var seeds = false
  /// Peers beside those that trackers name.
  package var peers: [Endpoint] = []
  package var handshakeTimeout = 60.0
  package var idleTimeout = 120.0
  package var requestTimeout = 60.0
  package var keepAlive = 30.0

  package init(folder: String) {
    self.folder = folder
  }
}
