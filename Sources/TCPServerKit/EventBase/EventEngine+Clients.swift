/// What the engine keeps for sockets and servers that live on it.
extension EventEngine {
  /// Looks after the events of this turn whether `socket` is watched, and watches it if not. Most are by then, or have
  /// ended.
  func watchLater(_ socket: TCPSocket) {
    if unsafe unwatched.isEmpty {
      later { [unowned self] in watchUnwatched() }
    }
    unsafe unwatched.append(.passUnretained(socket))
  }

  private func watchUnwatched() {
    let sockets = unsafe exchange(&unwatched, with: [])
    unsafe sockets.forEach { unsafe TCPSocket.alive($0.toOpaque())?.watchUnlessWatched() }
  }

  /// A socket that was given to ``watchLater(_:)`` is released.
  func forgetUnwatched(_ socket: TCPSocket) {
    let pointer = unsafe Unmanaged.passUnretained(socket).toOpaque()
    unsafe unwatched.removeAll { unsafe $0.toOpaque() == pointer }
  }

  // MARK: - Servers without descriptors

  func addStarving(_ server: ServerCore) {
    guard !starving.contains(where: { $0 === server }) else { return }
    starving.append(server)
    hasStarvingServers = true
  }

  func forgetStarving(_ server: ServerCore) {
    starving.removeAll { $0 === server }
    hasStarvingServers = !starving.isEmpty
  }

  func descriptorFreed() {
    starving.removeAll { !$0.descriptorFreed() }
    hasStarvingServers = !starving.isEmpty
  }
}
