// SPDX-License-Identifier: Apache-2.0

/// Chooses whom to serve: those who give most, and one at random, who might give more.
package struct Choker {
  package struct Candidate {
    package var peer: PeerNumber
    /// Bytes a second, from the peer or, when there is nothing to fetch any more, to it.
    package var speed: Int

    package init(peer: PeerNumber, speed: Int) {
      self.peer = peer
      self.speed = speed
    }
  }

  package static let slots = 4
  package static let interval: Duration = .seconds(10)
  /// The one at random stays for so many rounds: it takes a while to show what it gives.
  private static let optimisticRounds = 3

  private var optimistic: PeerNumber?
  private var round = 0

  package init() {}

  /// Whom to serve until the next round, out of those who are interested.
  package mutating func choose(_ candidates: [Candidate]) -> Set<PeerNumber> {
    var chosen = Set(candidates.sorted { $0.speed > $1.speed }.prefix(Self.slots).map(\.peer))
    let others = candidates.map(\.peer).filter { !chosen.contains($0) }
    if round % Self.optimisticRounds == 0 || !others.contains(where: { $0 == optimistic }) {
      optimistic = others.randomElement()
    }
    round += 1
    if let optimistic {
      chosen.insert(optimistic)
    }
    return chosen
  }
}
