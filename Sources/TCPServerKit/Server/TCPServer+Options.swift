// SPDX-License-Identifier: Apache-2.0

internal import CServerCore
internal import Glibc

/// Options of the listening socket. On Linux an accepted connection inherits them, at no cost of its own.
extension TCPServer {
  /// Sets an option for the connections that are accepted from now on.
  ///
  /// ```swift
  /// server.setSocketOption(.keepAlive, 1)
  /// server.listen(port: 4242)
  /// ```
  ///
  /// It is kept, and set again each time the server listens. Where the server listens already, clients that the
  /// kernel has completed keep what they have; a socket taken by ``setSocketDescriptor(_:)`` has its own options
  /// until one is set here.
  ///
  /// At a path, connections inherit nothing, and options of TCP and IP are left out.
  ///
  /// - Returns: false when the value cannot be set. Where the server does not listen yet, the kernel is asked by
  ///   ``listen(address:port:)``, which fails if it refuses.
  @discardableResult
  public final func setSocketOption(_ option: SocketOption, _ value: Int) -> Bool {
    requireLoopThread("TCPServer.setSocketOption(_:_:)")
    guard option != .pathMtu, CInt(exactly: value) != nil else { return false }
    guard socketDescriptor < 0 || option.set(value, for: socketDescriptor) else { return false }
    options[option] = value
    return true
  }

  /// The value of an option of the listening socket; of a server that does not listen, what was set.
  public final func socketOption(_ option: SocketOption) -> Int? {
    requireLoopThread("TCPServer.socketOption(_:)")
    return isListening ? option.value(for: socketDescriptor) : options[option]
  }

  /// Prepares each socket that ``listen(address:port:)`` makes, between `socket(2)` and `bind(2)`, for options that this
  /// library does not know: `SO_REUSEPORT`, `IP_FREEBIND`, `SO_BINDTODEVICE`. Nil, the default, does nothing.
  ///
  /// It is given the descriptor, which stays the server's, and returns 0, or the errno that listening is to fail with. The
  /// options of ``setSocketOption(_:_:)`` are set by then.
  public final var socketPreparation: ((CInt) -> CInt)? {
    get {
      requireLoopThread("TCPServer.socketPreparation")
      return existingPreparation
    }
    set {
      requireLoopThread("TCPServer.socketPreparation")
      existingPreparation = newValue
    }
  }

  /// Before bind(2), so that the first client has the options too: the kernel completes connections from listen(2) on.
  func prepare(_ descriptor: CInt) -> CInt {
    let isUnix = SystemCalls.isUnix(descriptor)
    for (option, value) in options
    where !(isUnix && option.isOfInternet) && !option.set(value, for: descriptor) {
      refusedOption = true
      return EINVAL
    }
    return existingPreparation?(descriptor) ?? 0
  }

  /// How long the peers of connections that are being closed may make no progress; 30 seconds at first.
  ///
  /// For the connections that are taken from now on; see ``TCPSocket/deliveryTimeout``.
  public final var deliveryTimeout: Duration {
    get {
      requireLoopThread("TCPServer.deliveryTimeout")
      return context.deliveryTimeout
    }
    set {
      requireLoopThread("TCPServer.deliveryTimeout")
      context.deliveryTimeout = newValue
      serverCore.updateRemoteSettings()
    }
  }
}
