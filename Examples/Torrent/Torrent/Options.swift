// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import BitTorrent
import TCPServerKit

// How the texts of options are read.

func hostAddress(_ text: String) throws -> HostAddress {
  guard let address = HostAddress(text) else {
    throw ValidationError("'\(text)' is not an IPv4 or IPv6 address.")
  }
  return address
}

/// A port, or the first and the last of several.
func portRange(_ text: String) throws -> ClosedRange<UInt16> {
  let bounds = text.split(separator: "-", omittingEmptySubsequences: false).map { UInt16($0) }
  guard (1...2).contains(bounds.count), let first = bounds[0], let last = bounds[bounds.count - 1],
    first <= last
  else {
    throw ValidationError("'\(text)' is not a range of ports, such as 6881-7000.")
  }
  return first...last
}

func endpoint(_ text: String) throws -> Endpoint {
  guard let endpoint = Endpoint(text) else {
    throw ValidationError("'\(text)' is not HOST:PORT.")
  }
  return endpoint
}
