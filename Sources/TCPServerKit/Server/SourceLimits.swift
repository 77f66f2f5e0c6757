// SPDX-License-Identifier: Apache-2.0

internal import CServerCore

/// What one source may take of a server, so that it leaves something to the others; see ``TCPServer/sourceLimits``.
///
/// A source is all addresses that begin with the same bits.
///
/// ```swift
/// server.sourceLimits = SourceLimits(maxConnections: 100, acceptsPerSecond: 20, burst: 50)
/// ```
public struct SourceLimits: Hashable, Sendable {
  /// Connections of one source at once; nil for no limit, less than 1 counts as 1.
  public var maxConnections: Int?
  /// Connections of one source in a second, in the long run; nil for no limit, less than 1 counts as 1.
  public var acceptsPerSecond: Int?
  /// How many of those may come at once, after a time with fewer; nil for as many as in a second.
  public var burst: Int?
  /// How many bits of an IPv4 address make a source, 1 to 32.
  public var ipv4Prefix: Int
  /// How many bits of an IPv6 address make a source, 1 to 128.
  public var ipv6Prefix: Int
  /// Whether clients beyond the limits are reset, which leaves nothing of them in the kernel; otherwise they are closed.
  public var resetsClients: Bool
  /// How many sources are counted at once, in 32 bytes each: a power of two from 64 to 16,777,216, others count as the
  /// next one.
  public var tableSize: Int

  /// Makes limits.
  ///
  /// - Parameters:
  ///   - maxConnections: of one source at once; nil for no limit.
  ///   - acceptsPerSecond: of one source in the long run; nil for no limit.
  ///   - burst: how many of those may come at once; nil for as many as in a second.
  ///   - ipv4Prefix: bits of an IPv4 address that make a source: 32, an address alone, unless said otherwise.
  ///   - ipv6Prefix: bits of an IPv6 address: 56 unless said otherwise, which is what a household gets.
  ///   - resetsClients: whether clients beyond the limits are reset instead of closed.
  ///   - tableSize: how many sources are counted at once.
  public init(
    maxConnections: Int? = nil,
    acceptsPerSecond: Int? = nil,
    burst: Int? = nil,
    ipv4Prefix: Int = 32,
    ipv6Prefix: Int = 56,
    resetsClients: Bool = false,
    tableSize: Int = 65_536
  ) {
    self.maxConnections = maxConnections
    self.acceptsPerSecond = acceptsPerSecond
    self.burst = burst
    self.ipv4Prefix = ipv4Prefix
    self.ipv6Prefix = ipv6Prefix
    self.resetsClients = resetsClients
    self.tableSize = tableSize
  }

  /// What a table has from its beginning.
  fileprivate var shape: [Int] { [ipv4Prefix, ipv6Prefix, tableSize] }

  fileprivate var core: csc_source_limits {
    var core = csc_source_limits()
    core.max_connections = coreLimit(maxConnections)
    core.accepts_per_second = coreLimit(acceptsPerSecond)
    core.burst = coreLimit(burst)
    core.table_size = UInt32(clamping: max(tableSize, 1))
    core.ipv4_prefix = UInt8(clamping: max(ipv4Prefix, 1))
    core.ipv6_prefix = UInt8(clamping: max(ipv6Prefix, 1))
    core.resets = resetsClients
    return core
  }
}

/// How many connections a server accepts in a second; see ``TCPServer/acceptRate``.
public struct AcceptRate: Hashable, Sendable {
  /// In the long run; less than 1 counts as 1.
  public var acceptsPerSecond: Int
  /// How many at once, after a time with fewer; nil for as many as in a second. Less than in a millisecond counts as that.
  public var burst: Int?

  /// Makes a rate.
  ///
  /// - Parameters:
  ///   - acceptsPerSecond: in the long run.
  ///   - burst: how many at once, after a time with fewer; nil for as many as in a second.
  public init(acceptsPerSecond: Int, burst: Int? = nil) {
    self.acceptsPerSecond = acceptsPerSecond
    self.burst = burst
  }
}

/// 0 is the core's for no limit.
private func coreLimit(_ number: Int?) -> UInt32 {
  number.map { UInt32(clamping: max($0, 1)) } ?? 0
}

/// The table in which connections count by their sources, of one server or of those of a group.
///
/// `@unchecked Sendable` because of this invariant: it is a pointer to what any thread may use.
@safe final class SharedSources: @unchecked Sendable {
  let pointer: OpaquePointer
  private let shape: [Int]

  /// Nil where memory is short, or the kernel has no random number.
  init?(_ limits: SourceLimits) {
    var core = limits.core
    guard let pointer = unsafe csc_sources_new(&core) else { return nil }
    unsafe self.pointer = pointer
    shape = limits.shape
  }

  deinit {
    unsafe csc_sources_free(pointer)
  }

  /// - Returns: false where the limits need another table.
  func change(to limits: SourceLimits) -> Bool {
    guard limits.shape == shape else { return false }
    var core = limits.core
    unsafe csc_sources_set_limits(pointer, &core)
    return true
  }

  func limitNothing() {
    var none = csc_source_limits()
    unsafe csc_sources_set_limits(pointer, &none)
  }

  var sourcesInUse: Int {
    unsafe csc_sources_in_use(pointer)
  }
}

/// The rate of one server, or of those of a group together.
///
/// `@unchecked Sendable` because of this invariant: it is a pointer to what any thread may use.
@safe final class SharedRate: @unchecked Sendable {
  let pointer: OpaquePointer

  /// Nil where memory is short.
  init?(_ rate: AcceptRate) {
    let (perSecond, burst) = (coreLimit(rate.acceptsPerSecond), coreLimit(rate.burst))
    guard let pointer = unsafe csc_rate_new(perSecond, burst) else { return nil }
    unsafe self.pointer = pointer
  }

  deinit {
    unsafe csc_rate_free(pointer)
  }

  /// - Parameter rate: nil for no limit.
  func change(to rate: AcceptRate?) {
    unsafe csc_rate_set(pointer, coreLimit(rate?.acceptsPerSecond), coreLimit(rate?.burst))
  }
}
