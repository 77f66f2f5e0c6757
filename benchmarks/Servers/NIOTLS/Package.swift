// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

// A package of its own: BoringSSL takes minutes to build, and the other servers in Swift do not need it.
let package = Package(
  name: "TCPServerKitTLSPeers",
  products: [
    .executable(name: "nio-tls", targets: ["EncryptedEchoServer"]),
    // For Tests/TLS.
    .executable(name: "nio-tls-client", targets: ["EncryptedEchoClient"]),
  ],
  dependencies: [
    // Exact, because the results name them.
    .package(url: "https://github.com/apple/swift-nio", exact: "2.101.2"),
    .package(url: "https://github.com/apple/swift-nio-ssl", exact: "2.37.6"),
  ],
  targets: [
    .executableTarget(
      name: "EncryptedEchoServer",
      dependencies: [
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "NIOSSL", package: "swift-nio-ssl"),
      ],
      path: "Server"
    ),
    .executableTarget(
      name: "EncryptedEchoClient",
      dependencies: [
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "NIOSSL", package: "swift-nio-ssl"),
        .product(name: "NIOTLS", package: "swift-nio"),
      ],
      path: "Client"
    ),
  ],
  swiftLanguageModes: [.v6]
)
