// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// The last error, and what an error does.
extension TCPServer {
  /// The last error; ``SocketError/unknown`` at first. A later success does not clear it.
  public final var serverError: SocketError {
    requireLoopThread("TCPServer.serverError")
    return unsafe SocketError(csc_server_error(core))
  }

  /// The last error for a person to read; empty at first.
  public final var errorString: String {
    requireLoopThread("TCPServer.errorString")
    let text = unsafe csc_server_error_string(core)
    return unsafe text == UnsafePointer(ownTextMark.utf8Start) ? ownErrorText : String(cString: text)
  }

  @discardableResult
  func fail(_ error: SocketError, _ text: StaticString) -> SocketError {
    unsafe text.utf8Start.withMemoryRebound(to: CChar.self, capacity: text.utf8CodeUnitCount + 1) {
      unsafe csc_server_set_error(core, error.core, $0)
    }
    return error
  }

  /// Records a failure whose text is made for the occasion.
  @discardableResult
  func fail(_ failure: Failure) -> SocketError {
    ownErrorText = failure.text
    return fail(failure.error, ownTextMark)
  }

  /// - Parameter call: as "serve()", which needs an event base.
  @discardableResult
  func failWithoutLoop(_ call: StaticString) -> SocketError {
    let advice = "make the server within EventBase.withThread(_:) or EventBase.run(_:)"
    return fail(Failure(.operation, "\(call) called on a server without an event base: \(advice)"))
  }
}

/// The mark in the core for a text that the server keeps itself.
private let ownTextMark: StaticString = "The server has a text of its own"
