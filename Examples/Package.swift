// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

let package = Package(
  name: "TCPServerKitExamples",
  dependencies: [
    // Named, because SwiftPM would otherwise call it by the name of the folder it was cloned into.
    .package(name: "TCPServerKit", path: ".."),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
  ],
  targets: [
    .target(name: "FortuneWire", path: "FortuneWire"),
    .target(
      name: "ServerProgram",
      dependencies: [
        .product(name: "TCPServerKit", package: "TCPServerKit"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "ServerProgram"
    ),
    .executableTarget(
      name: "FortuneServer",
      dependencies: [
        "FortuneWire",
        "ServerProgram",
        .product(name: "TCPServerKit", package: "TCPServerKit"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "FortuneServer"
    ),
    .executableTarget(
      name: "ThreadedFortuneServer",
      dependencies: [
        "FortuneWire",
        "ServerProgram",
        .product(name: "TCPServerKit", package: "TCPServerKit"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "ThreadedFortuneServer"
    ),
    .executableTarget(
      name: "FortuneClient",
      dependencies: [
        "FortuneWire",
        .product(name: "TCPServerKit", package: "TCPServerKit"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "FortuneClient"
    ),
    .executableTarget(
      name: "Loopback",
      dependencies: [
        "ServerProgram",
        .product(name: "TCPServerKit", package: "TCPServerKit"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "Loopback"
    ),
    .executableTarget(
      name: "EchoServer",
      dependencies: [
        "ServerProgram",
        .product(name: "TCPServerKit", package: "TCPServerKit"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "EchoServer"
    ),
    // Apart from EchoServer, which is deployed without OpenSSL.
    .executableTarget(
      name: "EncryptedEchoServer",
      dependencies: [
        "ServerProgram",
        .product(name: "TCPServerKit", package: "TCPServerKit"),
        .product(name: "TCPServerTLS", package: "TCPServerKit"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "EncryptedEchoServer"
    ),
    .executableTarget(
      name: "Socks5Bind",
      dependencies: [
        "ServerProgram",
        .product(name: "TCPServerKit", package: "TCPServerKit"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "Socks5Bind"
    ),
    .executableTarget(
      name: "Relay",
      dependencies: [
        "ServerProgram",
        .product(name: "TCPServerKit", package: "TCPServerKit"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "Relay"
    ),
    .executableTarget(
      name: "Gateway",
      dependencies: [
        "ServerProgram",
        .product(name: "TCPServerKit", package: "TCPServerKit"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "Gateway"
    ),
    .executableTarget(
      name: "Chat",
      dependencies: [
        "ServerProgram",
        .product(name: "TCPServerKit", package: "TCPServerKit"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "Chat"
    ),
    .target(name: "ChildIsolation", path: "Tests/ChildIsolation", cSettings: [.define("_GNU_SOURCE")]),
    .target(name: "ProgramTesting", dependencies: ["ChildIsolation"], path: "Tests/ProgramTesting"),
    .testTarget(
      name: "Socks5BindTests",
      dependencies: ["ProgramTesting", "Socks5Bind"],
      path: "Tests/Socks5BindTests"
    ),
    .testTarget(
      name: "EchoTests",
      dependencies: ["ProgramTesting", "EchoServer"],
      path: "Tests/EchoTests"
    ),
    .testTarget(
      name: "EncryptedEchoTests",
      dependencies: ["ProgramTesting", "EncryptedEchoServer"],
      path: "Tests/EncryptedEchoTests"
    ),
    .testTarget(
      name: "FortuneTests",
      // The programs too: the tests run them as processes.
      dependencies: [
        "ProgramTesting", "FortuneWire", "FortuneServer", "ThreadedFortuneServer", "FortuneClient",
      ],
      path: "Tests/FortuneTests"
    ),
    .testTarget(
      name: "RelayTests",
      // The echo server too: what a relay connects its clients to.
      dependencies: ["ProgramTesting", "Relay", "EchoServer"],
      path: "Tests/RelayTests"
    ),
    .testTarget(
      name: "GatewayTests",
      dependencies: ["ProgramTesting", "ServerProgram", "Gateway", "EchoServer"],
      path: "Tests/GatewayTests"
    ),
    .testTarget(
      name: "ChatTests",
      dependencies: ["ProgramTesting", "Chat"],
      path: "Tests/ChatTests"
    ),
    .testTarget(
      name: "LoopbackTests",
      dependencies: ["ProgramTesting", "Loopback"],
      path: "Tests/LoopbackTests"
    ),
  ],
  swiftLanguageModes: [.v6]
)
