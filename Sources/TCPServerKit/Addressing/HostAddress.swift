// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// An IPv4 or IPv6 address, one of the addresses that mean every interface, or none.
///
/// A peer that reaches a dual-stack server over IPv4 is reported by its IPv4 address. Where an IPv4-mapped
/// IPv6 address (`::ffff:192.0.2.1`) does occur, it compares equal to its IPv4 address.
public struct HostAddress: Sendable {
  enum Kind: UInt8 {
    case null = 0
    case any = 1
    case ipv4 = 4
    case ipv6 = 6
  }

  // The 128 bits in the order they are written, so that comparing them is comparing addresses.
  let high: UInt64
  let low: UInt64
  /// The interface index of a link-local IPv6 address; 0 for every other.
  public let scopeID: UInt32
  let kind: Kind

  init(_ kind: Kind, high: UInt64 = 0, low: UInt64 = 0, scopeID: UInt32 = 0) {
    self.kind = kind
    self.high = high
    self.low = low
    // Only fe80::/10 and the multicast addresses of an interface or a link have one.
    let isLocal = high >> 54 == 0x3fa || high >> 56 == 0xff && (1...2).contains((high >> 48) & 0xf)
    self.scopeID = kind == .ipv6 && isLocal ? scopeID : 0
  }

  private init(ipv4 address: UInt32) {
    self.init(.ipv4, low: UInt64(address))
  }

  /// No address. A server cannot listen on it.
  public static let null = HostAddress(.null)
  /// Every interface, IPv4 and IPv6; written `*`.
  public static let any = HostAddress(.any)
  /// Every interface, IPv4 only: 0.0.0.0.
  public static let anyIPv4 = HostAddress(ipv4: 0)
  /// Every interface, IPv6 only: `::`.
  public static let anyIPv6 = HostAddress(.ipv6)
  /// 127.0.0.1.
  public static let localHost = HostAddress(ipv4: 0x7f00_0001)
  /// `::1`.
  public static let localHostIPv6 = HostAddress(.ipv6, low: 1)
  /// 255.255.255.255.
  public static let broadcast = HostAddress(ipv4: 0xffff_ffff)

  /// Reads a literal: dotted IPv4 such as `192.0.2.1`, IPv6 with an optional `%scope`, or `*` for ``any``.
  ///
  /// - Returns: nil for anything else, host names and short forms such as `127.1` included. Qt makes a null
  ///   address of those, on which a server would then listen everywhere.
  public init?(_ text: String) {
    var address = csc_address()
    // The C parser would stop at a NUL and read only what comes before it.
    guard !text.utf8.contains(0), unsafe csc_address_parse(text, 0, &address) else {
      return nil
    }
    self.init(address)
  }

  /// Reads an address where a host name is allowed: a literal, IPv6 in brackets as in URLs too. Nil for a name.
  init?(hostName: String) {
    if hostName.hasPrefix("["), hostName.hasSuffix("]") {
      self.init(String(hostName.dropFirst().dropLast()))
      guard isIPv6 else { return nil }
    } else {
      self.init(hostName)
    }
  }

  /// Takes an address as protocols send it.
  ///
  /// - Parameter bytes: four of IPv4 or sixteen of IPv6, in network order.
  /// - Returns: nil for any other number of bytes.
  public init?(bytes: some Collection<UInt8>) {
    let words = bytes.reduce((UInt64(0), UInt64(0))) { words, byte in
      (words.0 << 8 | words.1 >> 56, words.1 << 8 | UInt64(byte))
    }
    switch bytes.count {
    case 4: self.init(.ipv4, low: words.1)
    case 16: self.init(.ipv6, high: words.0, low: words.1)
    default: return nil
    }
  }

  /// Whether this is no address.
  public var isNull: Bool {
    kind == .null
  }

  /// Whether this is an IPv4 address; false for an IPv4-mapped IPv6 address.
  public var isIPv4: Bool {
    kind == .ipv4
  }

  /// Whether this is an IPv6 address; false for ``any``.
  public var isIPv6: Bool {
    kind == .ipv6
  }

  /// Whether this address reaches only this machine: 127.0.0.0/8 in either form, and `::1`.
  public var isLoopback: Bool {
    var address = core(port: 0)
    return unsafe csc_address_is_loopback(&address)
  }

  /// The IPv4 address that this is or maps; nil when it is neither.
  public var ipv4: HostAddress? {
    switch kind {
    case .ipv4: self
    case .ipv6 where isIPv4Mapped: HostAddress(.ipv4, low: low & 0xffff_ffff)
    default: nil
    }
  }

  /// The IPv4 address that this is or maps, as a number: 127.0.0.1 is 0x7f000001. Nil when it is neither.
  public var ipv4Number: UInt32? {
    ipv4.map { UInt32(truncatingIfNeeded: $0.low) }
  }

  /// The IPv6 form of an IPv4 address, `::ffff:a.b.c.d`; nil for every other address.
  public var ipv4Mapped: HostAddress? {
    isIPv4 ? HostAddress(.ipv6, low: 0xffff_0000_0000 | low) : nil
  }

  private var isIPv4Mapped: Bool {
    kind == .ipv6 && high == 0 && low >> 32 == 0xffff
  }
}

extension HostAddress: Hashable {
  private var canonical: HostAddress {
    ipv4 ?? self
  }

  /// Whether both are the same address, an IPv4-mapped one counting as its IPv4 address.
  public static func == (left: HostAddress, right: HostAddress) -> Bool {
    let left = left.canonical
    let right = right.canonical
    return left.kind == right.kind && left.low == right.low && left.high == right.high
      && left.scopeID == right.scopeID
  }

  /// Hashes what ``==(_:_:)`` compares.
  public func hash(into hasher: inout Hasher) {
    let canonical = canonical
    hasher.combine(canonical.kind)
    hasher.combine(canonical.low)
    hasher.combine(canonical.high)
    hasher.combine(canonical.scopeID)
  }
}

extension HostAddress: CustomStringConvertible {
  /// The literal that ``init(_:)`` reads; empty for ``null``.
  public var description: String {
    var address = core(port: 0)
    return unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(CSC_ADDRESS_TEXT_SIZE)) {
      text in
      guard let start = text.baseAddress else { return "" }
      unsafe start.initialize(repeating: 0, count: text.count)
      unsafe csc_address_format(&address, start, text.count)
      return unsafe String(cString: start)
    }
  }
}

// MARK: - The core's form

extension HostAddress {
  @inline(__always) init(_ address: csc_address) {
    let (high, low) = unsafe withUnsafeBytes(of: address.bytes) { bytes in
      unsafe (
        UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 0, as: UInt64.self)),
        UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
      )
    }
    switch Kind(rawValue: address.family) {
    case .any: self = .any
    case .ipv4: self.init(.ipv4, low: high >> 32)
    case .ipv6: self.init(.ipv6, high: high, low: low, scopeID: address.scope_id)
    case .null, nil: self = .null
    }
  }

  func core(port: UInt16) -> csc_address {
    var address = csc_address()
    address.family = kind.rawValue
    address.port = port
    address.scope_id = scopeID
    let words = kind == .ipv4 ? (low << 32, 0) : (high, low)
    unsafe withUnsafeMutableBytes(of: &address.bytes) { bytes in
      unsafe bytes.storeBytes(of: words.0.bigEndian, toByteOffset: 0, as: UInt64.self)
      unsafe bytes.storeBytes(of: words.1.bigEndian, toByteOffset: 8, as: UInt64.self)
    }
    return address
  }
}

extension HostAddress {
  /// In network order: 4 bytes for IPv4, 16 otherwise; for ``any`` zeros, of IPv4.
  var bytes: [UInt8] {
    switch kind {
    case .ipv4, .any, .null: (0..<4).map { UInt8(truncatingIfNeeded: low >> (24 - 8 * $0)) }
    case .ipv6:
      [high, low].flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (56 - 8 * $0)) } }
    }
  }
}
