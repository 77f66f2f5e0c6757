// SPDX-License-Identifier: Apache-2.0

internal import CLibevent

/// ``TCPSocket/readyRead`` or ``TCPSocket/disconnected`` of an accepted connection, as long as it has had one handler at
/// most, which the socket itself keeps: an object for each would be a third of what an idle connection needs.
///
/// It is made when the program asks for the signal, and one of a kind on a loop is used again and again. What the socket
/// has no room for, such as a second handler, makes an object of the socket's own, ``TCPSocket/ownSignal(_:)``.
///
/// `@unchecked Sendable` as its superclass is.
@safe final class LoneSignal: Signal<Void>, @unchecked Sendable {
  enum Kind {
    case readyRead
    case disconnected
  }

  private let kind: Kind
  /// Its memory stays, though not the object.
  private var socket: UnsafeMutableRawPointer

  init(_ kind: Kind, of socket: TCPSocket) {
    self.kind = kind
    unsafe self.socket = Self.memory(of: socket)
    super.init(on: socket.confinement)
  }

  deinit {
    unsafe clibevent_free_memory(socket)
  }

  /// Makes it the signal of another socket of the same loop. No code of the program has it.
  func referring(to socket: TCPSocket) -> LoneSignal {
    unsafe clibevent_free_memory(self.socket)
    unsafe self.socket = Self.memory(of: socket)
    return self
  }

  private static func memory(of socket: TCPSocket) -> UnsafeMutableRawPointer {
    let memory = unsafe Unmanaged.passUnretained(socket).toOpaque()
    unsafe _ = clibevent_keep_memory(memory)
    return unsafe memory
  }

  /// Itself where the socket is no more: nothing will emit it.
  override func resolved() -> Signal<Void> {
    unsafe TCPSocket.alive(socket)?.ownSignal(kind) ?? self
  }

  override func addAlone(_ handler: @escaping () -> Void) -> SignalConnection? {
    guard let socket = unsafe TCPSocket.alive(socket), socket.mayKeepHandler(kind) else { return nil }
    switch kind {
    case .readyRead: socket.readyReadHandler = handler
    case .disconnected: socket.disconnectedHandler = handler
    }
    socket.wantInput()
    return .first
  }
}

extension TCPSocket {
  /// The signal of a socket that has no object of its own for it.
  func loneSignal(_ kind: LoneSignal.Kind) -> Signal<Void> {
    guard isAccepted else { return ownSignal(kind) }
    return context.loop?.signal(kind, of: self) ?? LoneSignal(kind, of: self)
  }

  /// Whether the signal never had a handler: the number of the first one is that of no other.
  fileprivate func mayKeepHandler(_ kind: LoneSignal.Kind) -> Bool {
    guard currentState == .connected, flags.contains(.accepted) else { return false }
    return switch kind {
    case .readyRead: readyReadHandler == nil && existingDetails?.readyRead == nil
    case .disconnected: disconnectedHandler == nil && existingDetails?.disconnected == nil
    }
  }

  /// One of the two signals as an object of this socket's own, with the handler that the socket has kept.
  fileprivate func ownSignal(_ kind: LoneSignal.Kind) -> Signal<Void> {
    switch kind {
    case .readyRead:
      if let signal = existingDetails?.readyRead { return signal }
      let signal = makeSignal(exchange(&readyReadHandler, with: nil))
      details.readyRead = signal
      return signal
    case .disconnected:
      if let signal = existingDetails?.disconnected { return signal }
      let signal = makeSignal(exchange(&disconnectedHandler, with: nil))
      details.disconnected = signal
      return signal
    }
  }

  private func makeSignal(_ handler: (() -> Void)?) -> InputSignal<Void> {
    InputSignal(of: self, first: handler.map { handler in { _ in handler() } })
  }

  func emitDisconnected() {
    if let disconnectedHandler {
      disconnectedHandler()
    } else {
      existingDetails?.disconnected?.notify()
    }
  }
}
