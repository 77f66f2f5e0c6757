// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// An error with its text and, where a system call failed, its errno: what a server or socket remembers.
struct Failure: Error {
  var error: SocketError
  var text: String

  init(_ error: SocketError, _ text: String) {
    self.error = error
    self.text = text
  }

  /// What `errnum` means when `call` gave it.
  init(_ call: csc_call, errno errnum: CInt) {
    var text: UnsafePointer<CChar>?
    error = unsafe SocketError(csc_error_from_errno(call, errnum, &text))
    self.text = unsafe text.map { unsafe String(cString: $0) } ?? ""
  }

  static let none = Failure(.unknown, "Unknown error")
  static let remoteHostClosed = Failure(.remoteHostClosed, "The remote host closed the connection")
  static let hostNotFound = Failure(.hostNotFound, "Host not found")
  static let outOfResources = Failure(.socketResource, "Out of resources")
  static let timedOut = Failure(.socketTimeout, "Network operation timed out")
}
