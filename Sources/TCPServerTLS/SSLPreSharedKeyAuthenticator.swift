// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// Asks a program for a pre-shared key, in a handshake: `QSslPreSharedKeyAuthenticator`.
///
/// It is for the handler that is given it, and asks nothing any more afterwards. Its copy of the key is wiped when the
/// handler has returned; the array that the key was set from is the program's to wipe.
@safe public final class SSLPreSharedKeyAuthenticator {
  /// What the server says about the identity to choose. On a server what it has sent; nil for nothing, as with TLS 1.3,
  /// which has no hints.
  public let identityHint: String?
  /// The identity, which says which key it is. On a server what the client has sent; a client sets it.
  public var identity: String
  /// How many bytes of UTF-8 ``identity`` may have; 0 on a server, which does not set it.
  public let maximumIdentityLength: Int
  /// How many bytes ``preSharedKey`` may have.
  public let maximumPreSharedKeyLength: Int
  private var key = unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0)

  init(identityHint: String?, identity: String, maximumIdentityLength: Int, maximumPreSharedKeyLength: Int) {
    self.identityHint = identityHint
    self.identity = identity
    self.maximumIdentityLength = maximumIdentityLength
    self.maximumPreSharedKeyLength = maximumPreSharedKeyLength
  }

  deinit {
    wipe()
  }

  /// The key; empty for none, as at first. 16 random bytes or more: a password is guessed from one handshake.
  ///
  /// One that is longer than ``maximumPreSharedKeyLength``, or on a client an ``identity`` that is longer than
  /// ``maximumIdentityLength``, counts as none.
  public var preSharedKey: [UInt8] {
    get {
      unsafe [UInt8](key)
    }
    set {
      wipe()
      let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: newValue.count, alignment: 1)
      unsafe copy.copyBytes(from: newValue)
      unsafe key = copy
    }
  }

  var hasNoKey: Bool {
    unsafe key.isEmpty
  }

  func withKey<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    unsafe body(UnsafeRawBufferPointer(key))
  }

  func wipe() {
    guard let base = unsafe key.baseAddress else { return }
    unsafe explicit_bzero(base, key.count)
    unsafe key.deallocate()
    unsafe key = UnsafeMutableRawBufferPointer(start: nil, count: 0)
  }
}
