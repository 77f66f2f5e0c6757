// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// A host name being looked up by getaddrinfo(3), on a thread of its own because that call blocks.
///
/// The thread keeps the lookup alive, so it may be abandoned at any time.
final class NameLookup: Sendable {
  /// Becomes readable when the lookup has ended.
  let descriptor: CInt
  private let name: String
  private let result = Locked<[HostAddress]?>(nil)

  /// Starts looking up; nil when there is no descriptor or thread for it.
  init?(_ name: String) {
    self.name = name
    descriptor = SystemCalls.openEventDescriptor()
    guard descriptor >= 0, startThread() else { return nil }
  }

  deinit {
    if descriptor >= 0 {
      SystemCalls.closeDescriptor(descriptor)
    }
  }

  /// The addresses found, none when the name has none; nil while the lookup goes on.
  var addresses: [HostAddress]? {
    result.withLock { $0 }
  }

  private func startThread() -> Bool {
    guard let thread = SystemThread.start({ self.run() }) else { return false }
    thread.detach()
    return true
  }

  private func run() {
    let addresses = resolve()
    result.withLock { $0 = addresses }
    SystemCalls.signal(descriptor)
  }

  /// A family without an address of this machine is left out, except where that leaves nothing, or for this machine's
  /// own name: its loopback addresses do not count for the C library.
  private func resolve() -> [HostAddress] {
    let name = name.lowercased()
    // To the C library the name ends with it.
    guard !name.utf8.contains(0) else { return [] }
    let isLocal = name == "localhost" || name.hasSuffix(".localhost")
    let addresses = isLocal ? [] : resolve(flags: AI_ADDRCONFIG)
    return addresses.isEmpty ? resolve(flags: 0) : addresses
  }

  private func resolve(flags: CInt) -> [HostAddress] {
    var hints = unsafe addrinfo()
    unsafe hints.ai_socktype = CInt(SOCK_STREAM.rawValue)
    unsafe hints.ai_flags = flags
    var list: UnsafeMutablePointer<addrinfo>?
    guard unsafe getaddrinfo(name, nil, &hints, &list) == 0 else { return [] }
    defer { unsafe freeaddrinfo(list) }
    var addresses: [HostAddress] = []
    var entry = unsafe list
    while let info = unsafe entry {
      if let address = unsafe info.pointee.ai_addr,
        let found = unsafe SocketAddress(address, length: info.pointee.ai_addrlen)
      {
        addresses.append(found.host)
      }
      unsafe entry = info.pointee.ai_next
    }
    return addresses
  }
}
