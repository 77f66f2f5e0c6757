// SPDX-License-Identifier: Apache-2.0

internal import CServerCore
internal import Glibc

/// What a process leaves to its successor besides its listening sockets.
///
/// ```swift
/// var values = HandoverValues()
/// values.secrets["ticket keys"] = keys
/// values.counters["served"] = served
/// ```
public struct HandoverValues: Hashable, Sendable {
  /// Secrets by their names, keys of TLS tickets for instance: at most 16, of at most 4,000 bytes each.
  public var secrets: [String: [UInt8]]

  /// Counters by their names, for those of the successor to go on: at most 48.
  public var counters: [String: UInt64]

  /// Makes values; none at first. Names are 1 to 64 bytes long, without a NUL.
  public init(secrets: [String: [UInt8]] = [:], counters: [String: UInt64] = [:]) {
    self.secrets = secrets
    self.counters = counters
  }
}

/// The same for the C core. It overwrites its copies of secrets when it is released.
///
/// `@unchecked Sendable` because of this invariant: one thread at a time uses it, as its user waits for the other.
@safe final class HandoverValuesInC: @unchecked Sendable {
  let content: OpaquePointer?

  init() {
    unsafe content = csc_handover_values_new()
  }

  deinit {
    unsafe csc_handover_values_free(content)
  }

  /// - Returns: an errno, or 0.
  func set(_ values: HandoverValues) -> CInt {
    guard let content = unsafe content else { return ENOMEM }
    for (name, bytes) in values.secrets {
      let errnum = unsafe csc_handover_set_secret(content, name, bytes, bytes.count)
      if errnum != 0 { return errnum == ENOSPC ? EINVAL : errnum }
    }
    for (name, value) in values.counters {
      let errnum = unsafe csc_handover_set_counter(content, name, value)
      if errnum != 0 { return EINVAL }
    }
    return 0
  }

  func get() -> HandoverValues {
    var values = HandoverValues()
    guard let content = unsafe content else { return values }
    var index = 0
    var size = 0
    while let name = unsafe csc_handover_secret_name(content, index) {
      let bytes = unsafe UnsafeRawBufferPointer(start: csc_handover_secret(content, name, &size), count: size)
      unsafe values.secrets[String(cString: name)] = unsafe Array(bytes)
      index += 1
    }
    index = 0
    var value: UInt64 = 0
    while let name = unsafe csc_handover_counter(content, index, &value) {
      unsafe values.counters[String(cString: name)] = value
      index += 1
    }
    return values
  }
}
