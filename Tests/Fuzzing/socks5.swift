// SPDX-License-Identifier: Apache-2.0

// Feeds what a proxy might send to the SOCKS5 conversation, in three ways that must come to the same: all at once, byte
// by byte, and as a connection reads it. The first byte chooses the request; a well-formed answer can be asked for, to be
// read back as what it was made of.

import Glibc

/// An event, to be compared.
private enum Told: Equatable {
  case send([UInt8])
  case bound(HostAddress, UInt16)
  case arrived(HostAddress, UInt16)
  case connected(HostAddress, UInt16)
  case failed(SocketError)

  init(_ event: SOCKS5Handshake.Event) {
    switch event {
    case .send(let bytes): self = .send(bytes)
    case .bound(let address, let port): self = .bound(address, port)
    case .arrived(let address, let port): self = .arrived(address, port)
    case .connected(let address, let port): self = .connected(address, port)
    case .failed(let failure):
      check(!failure.text.isEmpty)
      self = .failed(failure.error)
    }
  }
}

/// What one way of feeding has come to.
private struct Outcome: Equatable {
  var events: [Told] = []
  var taken = 0
  var bytesNeeded = 0
}

private let user = SOCKS5Handshake.authenticationMessage(user: "user", password: "password")

private struct Request {
  let bits: UInt8

  var command: SOCKS5Handshake.Command {
    bits & 1 == 0 ? .bind : .connect
  }

  func makeMachine() -> SOCKS5Handshake {
    let credentials = bits & 2 == 0 ? nil : user.map { Array($0[...]) }
    let destination: SOCKS5Handshake.Destination =
      switch bits >> 2 & 3 {
      case 0: .address(.anyIPv4, port: 0)
      case 1: .address(.localHostIPv6, port: 65535)
      case 2: .name(Array("host.example".utf8), port: 80)
      default: .name([UInt8](repeating: 97, count: Int(bits) << 1), port: 80)
      }
    return SOCKS5Handshake(command, to: destination, credentials: credentials)
  }

  /// Feeds pieces, each as long as `length` says, given how many bytes are needed.
  func feed(_ input: ArraySlice<UInt8>, pieces length: (Int) -> Int) -> Outcome {
    var machine = makeMachine()
    var outcome = Outcome()
    var rest = input
    check(machine.greeting.count == (bits & 2 == 0 ? 3 : 4))
    while !rest.isEmpty && machine.bytesNeeded > 0 {
      check(machine.bytesNeeded <= SOCKS5Handshake.longestReply)
      let wanted = machine.bytesNeeded
      let piece = rest.prefix(max(length(wanted), 1))
      let (taken, event) = machine.receive(piece)
      check(taken > 0 && taken <= piece.count)
      check(taken == piece.count || event != nil)
      rest = rest.dropFirst(taken)
      outcome.taken += taken
      if let event { outcome.events.append(Told(event)) }
      // What it needs it takes, or else it fails: the rest would be the user's, and lost.
      if piece.count <= wanted && taken < piece.count {
        guard case .failed = event else { abort() }
      }
    }
    check(machine.bytesNeeded > 0 || machine.receive([5, 0]).taken == 0)
    // Method, authentication, two replies.
    check(!machine.connectsToHost || machine.bytesNeeded > 0)
    check(outcome.events.count <= 4 && outcome.taken <= 4 + 2 * SOCKS5Handshake.longestReply)
    outcome.bytesNeeded = machine.bytesNeeded
    if machine.bytesNeeded > 0 {
      var ending = machine
      outcome.events.append(Told(ending.endOfInput()))
      check(ending.bytesNeeded == 0)
    }
    return outcome
  }
}

private func check(_ condition: Bool) {
  if !condition { abort() }
}

/// A whole answer made of the input, and what must be read of it.
private func checkWellFormed(_ request: Request, _ input: ArraySlice<UInt8>) {
  guard input.count >= 18 else { return }
  let bytes = Array(input)
  let isIPv6 = request.bits & 0x20 != 0
  let address = Array(bytes[..<(isIPv6 ? 16 : 4)])
  let port = UInt16(bytes[16]) << 8 | UInt16(bytes[17])
  let reply = [5, 0, bytes[0], isIPv6 ? 4 : 1] + address + [bytes[16], bytes[17]]
  let login: [UInt8] = request.bits & 2 == 0 ? [5, 0] : [5, 2, 1, 0]
  let replies = request.command == .bind ? reply + reply : reply
  let outcome = request.feed((login + replies + bytes)[...]) { $0 }
  guard request.bits >> 2 & 3 != 3 else { return }  // a name that may be too long to send
  let host = HostAddress(bytes: address) ?? .null
  let expected: [Told] =
    request.command == .bind ? [.bound(host, port), .arrived(host, port)] : [.connected(host, port)]
  check(outcome.events.suffix(expected.count) == expected[...])
  check(outcome.taken == login.count + replies.count)
}

/// What libFuzzer calls.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: start, count: count))
  guard let bits = bytes.first else { return 0 }
  let request = Request(bits: bits)
  let input = bytes.dropFirst()
  if bits & 0x10 != 0 {
    checkWellFormed(request, input)
    return 0
  }
  let whole = request.feed(input) { _ in input.count }
  check(whole == request.feed(input) { _ in 1 })
  check(whole == request.feed(input) { needed in needed })
  return 0
}
