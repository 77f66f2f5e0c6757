// SPDX-License-Identifier: Apache-2.0

import TCPServerKit
import Testing

@Suite("HostAddress")
struct HostAddressTests {
  /// A literal, and how it is written back.
  static let literals: [(String, String)] = [
    ("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "0.0.0.0"), ("255.255.255.255", "255.255.255.255"),
    ("192.0.2.1", "192.0.2.1"), ("::1", "::1"), ("::", "::"), ("*", "*"),
    ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"), ("2001:db8::1", "2001:db8::1"),
    ("::ffff:192.0.2.1", "::ffff:192.0.2.1"), ("::ffff:c000:201", "::ffff:192.0.2.1"),
    ("fe80::1%1", "fe80::1%lo"), ("fe80::1%lo", "fe80::1%lo"), ("fe80::1%99999", "fe80::1%99999"),
    ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
  ]

  @Test("A literal is read and written back in its shortest form", arguments: literals)
  func literal(_ row: (text: String, written: String)) throws {
    let address = try #require(HostAddress(row.text))
    #expect(address.description == row.written)
    #expect(HostAddress(row.written) == address)
    #expect("\(address)" == row.written)
  }

  @Test(
    "What is no literal gives nil",
    arguments: [
      "", " ", "localhost", "example.com", "127.1", "127.0.0", "127.0.0.1.1", "256.0.0.1", "1.2.3.-4",
      "0x7f.0.0.1",
      "127.0.0.1 ", " 127.0.0.1", "127.0.0.1\n", "127.0.0.1\0", "127.0.0.1\0.evil", "127.0.0.1%lo", "*%lo",
      "**",
      "::1%", "::1%no-such-interface", "::1%0", "::1%-1", "::1%1x", ":::", "1:2:3:4:5:6:7:8:9", "12345::",
      "[::1]",
      "::1/64", "127.0.0.1:80", "1.2.3.4.", "２.2.2.2", String(repeating: "1", count: 5000),
    ]
  )
  func notALiteral(text: String) {
    #expect(HostAddress(text) == nil)
  }

  @Test("The addresses with names are what they say")
  func names() {
    #expect(HostAddress("*") == .any)
    #expect(HostAddress("0.0.0.0") == .anyIPv4)
    #expect(HostAddress("::") == .anyIPv6)
    #expect(HostAddress("127.0.0.1") == .localHost)
    #expect(HostAddress("::1") == .localHostIPv6)
    #expect(HostAddress("255.255.255.255") == .broadcast)
    #expect(HostAddress.null.description.isEmpty)
    #expect(HostAddress.null.isNull)
    #expect(!HostAddress.any.isNull)
    let all: [HostAddress] = [.null, .any, .anyIPv4, .anyIPv6, .localHost, .localHostIPv6, .broadcast]
    #expect(Set(all).count == all.count)
  }

  /// An address and whether it is IPv4, IPv6 and this machine's own.
  static let kinds: [(HostAddress, Bool, Bool, Bool)] = [
    (.null, false, false, false), (.any, false, false, false), (.anyIPv4, true, false, false),
    (.anyIPv6, false, true, false), (.localHost, true, false, true), (.localHostIPv6, false, true, true),
    (.broadcast, true, false, false),
  ]

  @Test("Each has its kind", arguments: kinds)
  func kind(_ row: (address: HostAddress, isIPv4: Bool, isIPv6: Bool, isLoopback: Bool)) {
    #expect(row.address.isIPv4 == row.isIPv4)
    #expect(row.address.isIPv6 == row.isIPv6)
    #expect(row.address.isLoopback == row.isLoopback)
    #expect(row.address.scopeID == 0)
  }

  @Test(
    "Loopback is 127.0.0.0/8 in either form, and ::1",
    arguments: [
      ("127.0.0.0", true), ("127.255.255.255", true), ("126.255.255.255", false), ("128.0.0.0", false),
      ("::ffff:127.9.9.9", true), ("::ffff:128.0.0.1", false), ("::2", false), ("::127.0.0.1", false),
      ("fe80::1%1", false),
    ]
  )
  func loopback(text: String, isLoopback: Bool) {
    #expect(HostAddress(text)?.isLoopback == isLoopback)
  }

  @Test("Four and sixteen bytes are the address that they are the bytes of, others none")
  func bytes() throws {
    #expect(HostAddress(bytes: [192, 0, 2, 255]) == HostAddress("192.0.2.255"))
    let ipv6: [UInt8] = [0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0xff, 0xfe]
    #expect(HostAddress(bytes: ipv6) == HostAddress("2001:db8:1:2:3:4:5:fffe"))
    #expect(HostAddress(bytes: [9, 127, 0, 0, 1][1...]) == .localHost)
    #expect(HostAddress(bytes: [0, 0, 0, 0]) == .anyIPv4)
    #expect(HostAddress(bytes: [UInt8](repeating: 0, count: 16)) == .anyIPv6)
    for count in 0...20 where count != 4 && count != 16 {
      #expect(HostAddress(bytes: [UInt8](repeating: 1, count: count)) == nil)
    }
  }

  @Test("A mapped address equals its IPv4 address, and hashes alike")
  func mapped() throws {
    let plain = try #require(HostAddress("192.0.2.1"))
    let mapped = try #require(HostAddress("::ffff:192.0.2.1"))
    #expect(plain == mapped)
    #expect(plain.hashValue == mapped.hashValue)
    #expect(Set([plain, mapped]).count == 1)
    #expect(mapped.isIPv6)
    #expect(!mapped.isIPv4)
    #expect(plain.ipv4Mapped?.description == "::ffff:192.0.2.1")
    #expect(mapped.ipv4?.description == "192.0.2.1")
    #expect(mapped.ipv4?.isIPv4 == true)
    #expect(plain.ipv4 == plain)
    #expect(mapped.ipv4Mapped == nil)
    #expect(HostAddress.localHostIPv6.ipv4 == nil)
    #expect(HostAddress.any.ipv4 == nil)
    #expect(HostAddress.any.ipv4Mapped == nil)
    #expect(HostAddress.null.ipv4 == nil)
    #expect(HostAddress.anyIPv4.ipv4Mapped?.description == "::ffff:0.0.0.0")
  }

  @Test("The scope is part of an address")
  func scope() throws {
    let first = try #require(HostAddress("fe80::1%1"))
    #expect(first.scopeID == 1)
    #expect(first == HostAddress("fe80::1%lo"))
    #expect(first != HostAddress("fe80::1"))
    #expect(first != HostAddress("fe80::1%2"))
    #expect(Set([first, try #require(HostAddress("fe80::1%lo"))]).count == 1)
  }

  @Test("Addresses that differ in one place are not equal")
  func different() {
    let texts = [
      "192.0.2.1", "192.0.2.2", "193.0.2.1", "2001:db8::1", "2001:db8::2", "2001:db9::1", "::192.0.2.1",
      "::fffe:192.0.2.1", "::1:ffff:192.0.2.1",
    ]
    #expect(Set(texts.compactMap { HostAddress($0) }).count == texts.count)
  }

  @Test("Only addresses of a link have a scope")
  func scopes() {
    for text in ["::1%1", "2001:db8::1%1", "::ffff:192.0.2.1%1", "ff0e::1%1"] {
      #expect(HostAddress(text)?.scopeID ?? 0 == 0, "\(text)")
    }
    #expect(HostAddress("::1%1") == .localHostIPv6)
    for text in ["fe80::1%1", "febf::1%1", "ff02::1%1", "ff01::1%1", "ff12::1%1"] {
      #expect(HostAddress(text)?.scopeID == 1, "\(text)")
    }
  }

  @Test(
    "Whether an address is in a subnet",
    arguments: [
      ("192.168.3.4", "192.168.0.0/16", true), ("192.169.3.4", "192.168.0.0/16", false),
      ("192.168.3.4", "192.168.3.4", true), ("192.168.3.5", "192.168.3.4/32", false),
      ("1.2.3.4", "0.0.0.0/0", true), ("::1", "0.0.0.0/0", false), ("::ffff:10.1.2.3", "10.0.0.0/8", true),
      ("fe80::1", "fe80::/10", true), ("fec0::1", "fe80::/10", false),
      ("2001:db8:1:2::3", "2001:db8:1:2::/64", true),
      ("2001:db8:1:3::3", "2001:db8:1:2::/64", false), ("2001:db8::ff", "2001:db8::/121", false),
      ("2001:db8::7f", "2001:db8::/121", true), ("::1", "::1/128", true), ("::1", "::/0", true),
    ]
  )
  func subnets(_ address: String, _ subnet: String, _ isIn: Bool) throws {
    let parsed = try #require(HostAddress.parseSubnet(subnet))
    #expect(try #require(HostAddress(address)).isInSubnet(parsed) == isIn)
  }

  @Test(
    "What is no subnet",
    arguments: ["", "/8", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.0/+8", "a/8", "*/0", "10/8"]
  )
  func noSubnet(_ text: String) {
    #expect(HostAddress.parseSubnet(text) == nil)
    #expect(!HostAddress.localHost.isInSubnet(.localHost, prefixLength: 33))
    #expect(!HostAddress.localHost.isInSubnet(.localHost, prefixLength: -1))
    #expect(!HostAddress.null.isInSubnet(.null, prefixLength: 0))
  }

  @Test("The machine's addresses are those that the C library lists")
  func machine() {
    #expect(Set(NetworkInterface.allAddresses) == Set(Machine.addresses))
    #expect(NetworkInterface.allAddresses.contains(.localHost))
  }
}
