/// Options of the listening socket. On Linux an accepted connection inherits them, at no cost of its own.
extension TCPServer {
  /// Sets an option for the connections that are accepted from now on.
  ///
  /// ```swift
  /// server.setSocketOption(.lowDelay, 1)
  /// server.listen(port: 4242)
  /// ```
  ///
  /// It is kept, and set again each time the server listens. Where the server listens already, clients that the
  /// kernel has completed keep what they have; a socket taken by ``setSocketDescriptor(_:)`` has its own options
  /// until one is set here.
  ///
  /// - Returns: false when the value cannot be set. Where the server does not listen yet, the kernel is asked by
  ///   ``listen(address:port:)``, which fails if it refuses.
  @discardableResult
  public final func setSocketOption(_ option: SocketOption, _ value: Int) -> Bool {
    checkThread()
    guard option != .pathMtu, CInt(exactly: value) != nil else { return false }
    guard socketDescriptor < 0 || option.set(value, for: socketDescriptor) else { return false }
    options[option] = value
    return true
  }

  /// The value of an option of the listening socket; of a server that does not listen, what was set.
  public final func socketOption(_ option: SocketOption) -> Int? {
    isListening ? option.value(for: socketDescriptor) : options[option]
  }

  /// Sets them all for a new listening socket, which is closed when the kernel refuses one.
  final func applyOptions() -> Bool {
    for (option, value) in options where !option.set(value, for: socketDescriptor) {
      close()
      fail(.unsupportedSocketOperation, "A socket option was refused")
      return false
    }
    return true
  }
}
