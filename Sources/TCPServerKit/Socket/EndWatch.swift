internal import CServerCore

/// Who wants to know when connections of a server end, beside its core.
@safe final class EndWatch {
  private let core: OpaquePointer?
  /// There may be room for a connection.
  var onRoom: (() -> Void)?
  /// The tasks that wait until none is left.
  let waiters = WaitingLine()

  init(core: OpaquePointer?) {
    unsafe self.core = core
  }

  func connectionEnded() {
    onRoom?()
    lookWhetherAllEnded()
  }

  func lookWhetherAllEnded() {
    guard !waiters.isEmpty else { return }
    var snapshot = csc_statistics()
    unsafe csc_server_statistics(core, &snapshot, MemoryLayout<csc_statistics>.size)
    if snapshot.live == 0 {
      waiters.wakeAll()
    }
  }
}
