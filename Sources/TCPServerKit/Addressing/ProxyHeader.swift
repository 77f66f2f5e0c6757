// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// The PROXY protocol's header, which load balancers send before a client's own bytes: whose connection it is.
///
/// A value without input or output: ``parse(_:maximumLength:)`` reads one at the beginning of what a connection has
/// received, ``encoded()`` makes the bytes of one.
///
/// ```swift
/// switch try ProxyHeader.parse(received) {
/// case .whole(let header, let length):
///   received.removeFirst(length)
///   print("the client is \(header.sourceAddress) port \(header.sourcePort)")
/// case .partial(let minimumLength):
///   print("more is to be read, up to \(minimumLength) bytes in all")
/// }
/// ```
///
/// > Important: Any client can send such a header. A program parses it only for peers that it trusts, and then requires
/// > it of them.
public struct ProxyHeader: Hashable, Sendable {
  /// A version of the protocol.
  public enum Version: UInt8, Sendable {
    /// A line of text; has no TLVs and no checksum.
    case v1 = 1
    /// Bytes.
    case v2 = 2
  }

  /// A type with its value, as version 2 carries them after the addresses.
  public struct TLV: Hashable, Sendable {
    /// Its type, such as 2 for the name of the host that the client asked for.
    public var type: UInt8
    /// Its bytes; 65,535 at most can be written.
    public var value: [UInt8]

    /// Makes one.
    public init(type: UInt8, value: [UInt8]) {
      self.type = type
      self.value = value
    }
  }

  /// Which version it is, respectively will be.
  public var version: Version
  /// Whether this is the proxy's own connection, such as a health check, and not a client's.
  ///
  /// It has no addresses then; in version 1 it is a header without addresses.
  public var isLocal: Bool
  /// The client's address, as the proxy saw it; ``HostAddress/null`` where the header has none, so that the
  /// connection's own is the client's.
  public var sourceAddress: HostAddress
  /// The client's port; 0 where there is no address.
  public var sourcePort: UInt16
  /// The address that the client connected to; ``HostAddress/null`` where the header has none.
  public var destinationAddress: HostAddress
  /// The port that the client connected to; 0 where there is no address.
  public var destinationPort: UInt16
  /// What else version 2 says, in its order, without padding and without the checksum.
  public var tlvs: [TLV]
  /// Whether it has a checksum: one that was parsed was right, one that is encoded is calculated.
  public var hasChecksum: Bool

  /// Makes a header of version 2 without addresses: it says nothing of the client.
  public init() {
    version = .v2
    isLocal = false
    sourceAddress = .null
    sourcePort = 0
    destinationAddress = .null
    destinationPort = 0
    tlvs = []
    hasChecksum = false
  }

  /// Makes a header for a client's connection.
  ///
  /// - Parameters:
  ///   - sourceAddress: The client's address.
  ///   - sourcePort: The client's port.
  ///   - destinationAddress: Where it connected to.
  ///   - destinationPort: The port that it connected to.
  ///   - version: Of the protocol.
  public init(
    sourceAddress: HostAddress,
    sourcePort: UInt16,
    destinationAddress: HostAddress,
    destinationPort: UInt16,
    version: Version = .v2
  ) {
    self.init()
    self.version = version
    self.sourceAddress = sourceAddress
    self.sourcePort = sourcePort
    self.destinationAddress = destinationAddress
    self.destinationPort = destinationPort
  }

  /// The header of version 2 of a connection that is the proxy's own.
  public static let local: ProxyHeader = {
    var header = ProxyHeader()
    header.isLocal = true
    return header
  }()
}

// MARK: - Reading

extension ProxyHeader {
  /// What a stream begins with.
  public enum Parsed: Hashable, Sendable {
    /// A whole header; what follows its `length` bytes is the client's.
    case whole(ProxyHeader, length: Int)
    /// The beginning of a header, to which all bytes belong. It has `minimumLength` bytes at least: who reads no
    /// further than that reads none of the client's.
    case partial(minimumLength: Int)
  }

  /// Why bytes are no header, or a header cannot be encoded.
  public struct FormatError: Error, Hashable, Sendable, CustomStringConvertible {
    let code: UInt8
    /// Which byte is wrong, counted from 0; nil where a header cannot be encoded.
    public let offset: Int?

    /// What is wrong, such as "There is no PROXY header".
    public var description: String {
      unsafe String(cString: csc_proxy_error_text(csc_proxy_error(UInt32(code))))
    }
  }

  /// Reads the header that a stream begins with.
  ///
  /// Version 1 is read strictly, of version 2 datagrams are refused. LOCAL is accepted with and without addresses,
  /// which are skipped; its TLVs are dropped where one is malformed. An IPv4-mapped address is reported as IPv4, and a
  /// UNIX socket as no address.
  ///
  /// - Parameters:
  ///   - bytes: The first bytes of the stream, as many as there are.
  ///   - maximumLength: Of a header of version 2, in bytes; 65,551 is the longest that there can be.
  /// - Returns: The header, or how many bytes it has at least.
  /// - Throws: A ``FormatError`` where the bytes begin no header or a wrong one. More bytes do not change that.
  public static func parse(
    _ bytes: some Collection<UInt8>,
    maximumLength: Int = 4096
  ) throws(FormatError) -> Parsed {
    let inPlace = bytes.withContiguousStorageIfAvailable { unsafe parse(contiguous: $0, maximumLength) }
    let result =
      unsafe inPlace ?? Array(bytes).withUnsafeBufferPointer { unsafe parse(contiguous: $0, maximumLength) }
    return try result.get()
  }

  private static func parse(
    contiguous bytes: UnsafeBufferPointer<UInt8>,
    _ maximum: Int
  ) -> Result<Parsed, FormatError> {
    var core = csc_proxy_header()
    // The core takes 0 for its own maximum.
    switch unsafe csc_proxy_header_parse(bytes.baseAddress, bytes.count, max(maximum, 1), &core) {
    case CSC_PROXY_DONE:
      let tlvs = unsafe bytes.baseAddress.map { unsafe csc_proxy_header_tlvs(&core, $0) } ?? csc_proxy_bytes()
      return .success(.whole(unsafe ProxyHeader(core, tlvs: tlvs), length: Int(core.length)))
    case CSC_PROXY_MORE:
      return .success(.partial(minimumLength: Int(core.length)))
    default:
      return .failure(FormatError(code: core.error, offset: Int(core.error_offset)))
    }
  }

  init(_ core: csc_proxy_header, tlvs bytes: csc_proxy_bytes) {
    version = core.version == 1 ? .v1 : .v2
    isLocal = core.is_local
    sourceAddress = HostAddress(core.source)
    sourcePort = core.source.port
    destinationAddress = HostAddress(core.destination)
    destinationPort = core.destination.port
    hasChecksum = core.has_checksum
    tlvs = []
    var tlv = unsafe csc_proxy_tlv()
    while unsafe csc_proxy_tlv_next(bytes, &tlv) {
      let type = unsafe tlv.type
      if !Self.isWithoutMeaning(type) {
        tlvs.append(TLV(type: type, value: unsafe Array(tlv.value)))
      }
    }
  }

  private static func isWithoutMeaning(_ type: UInt8) -> Bool {
    type == UInt8(CSC_PROXY_TLV_NOOP.rawValue) || type == UInt8(CSC_PROXY_TLV_CRC32C.rawValue)
  }
}

// MARK: - Writing

extension ProxyHeader {
  /// The bytes of the header, to be sent before anything else.
  ///
  /// Two IPv4 addresses are written as TCP4, others as TCP6, where IPv4 addresses are mapped. A scope is not written.
  ///
  /// - Throws: A ``FormatError`` where one address is given without the other or one is ``HostAddress/any``; for
  ///   version 1 with ``tlvs`` or ``hasChecksum``; for a TLV of the checksum's type, 3, and a unique ID of more than 128
  ///   bytes; and where it would be longer than 65,551 bytes.
  public func encoded() throws(FormatError) -> [UInt8] {
    var core = csc_proxy_header()
    core.version = version.rawValue
    core.is_local = isLocal
    core.has_checksum = hasChecksum
    core.source = sourceAddress.core(port: sourcePort)
    core.destination = destinationAddress.core(port: destinationPort)
    var error = CSC_PROXY_ERROR_NONE
    let bytes = unsafe withCoreTLVs { tlvs in
      let length = unsafe csc_proxy_header_write(&core, tlvs.baseAddress, tlvs.count, nil, 0, &error)
      // An array of no room is the run-time's own, one for all threads, and its number of bytes would be written.
      guard length > 0 else { return [] }
      return unsafe [UInt8](unsafeUninitializedCapacity: length) { buffer, count in
        count = unsafe csc_proxy_header_write(
          &core,
          tlvs.baseAddress,
          tlvs.count,
          buffer.baseAddress,
          length,
          nil
        )
      }
    }
    guard error == CSC_PROXY_ERROR_NONE else { throw FormatError(code: UInt8(error.rawValue), offset: nil) }
    return bytes
  }

  /// The TLVs as the core takes them.
  private func withCoreTLVs(_ body: (UnsafeBufferPointer<csc_proxy_tlv>) -> [UInt8]) -> [UInt8] {
    let values = tlvs.flatMap(\.value)
    return unsafe values.withUnsafeBufferPointer { values in
      var start = 0
      var core: [csc_proxy_tlv] = unsafe []
      for tlv in tlvs {
        let value = unsafe csc_proxy_bytes(
          start: values.baseAddress.map { unsafe $0 + start },
          count: tlv.value.count
        )
        unsafe core.append(csc_proxy_tlv(value: value, type: tlv.type))
        start += tlv.value.count
      }
      return unsafe core.withUnsafeBufferPointer { unsafe body($0) }
    }
  }
}

extension Array<UInt8> {
  /// A copy of what the core points at.
  init(_ bytes: csc_proxy_bytes) {
    unsafe self.init(UnsafeBufferPointer(start: bytes.start, count: bytes.count))
  }
}
