internal import Synchronization

/// A place among the connections that a server counts; given back once, at the latest when nobody holds it any more.
final class CountedPlace: Sendable {
  private let server: ServerElsewhere
  private let isGivenBack = Atomic(false)

  init(_ server: ServerElsewhere) {
    self.server = server
  }

  deinit {
    giveBack()
  }

  func giveBack() {
    if !isGivenBack.exchange(true, ordering: .relaxed) {
      server.connectionEnded()
    }
  }
}
