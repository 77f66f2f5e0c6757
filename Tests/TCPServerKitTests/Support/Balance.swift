// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

/// Checks that every connection is accounted for exactly once. The last line of every test with a server.
func expectBalanced(_ server: TCPServer, sourceLocation: SourceLocation = #_sourceLocation) {
  let statistics = server.statistics
  #expect(
    statistics.accepted + statistics.added
      == statistics.delivered + statistics.pending + statistics.discardedOnClose + statistics.shed
      + statistics.rejectedByAdmission + statistics.rejectedByLimit
      + statistics.rejectedBySourceLimit + statistics.rejectedBySourceRate + statistics.inPreface
      + statistics.endedInPreface,
    "\(statistics)",
    sourceLocation: sourceLocation
  )
}
