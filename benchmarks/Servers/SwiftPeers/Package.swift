// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

// Other servers in Swift, in a package of their own: what they need is no dependency of the library or of its servers.
let package = Package(
  name: "TCPServerKitPeers",
  products: [
    .executable(name: "nio", targets: ["NIOServer"]),
    .executable(name: "nio-async", targets: ["NIOAsyncServer"]),
    .executable(name: "flyingsocks", targets: ["FlyingSocksServer"]),
  ],
  dependencies: [
    // Exact, because the results name them.
    .package(url: "https://github.com/apple/swift-nio", exact: "2.101.2"),
    .package(url: "https://github.com/swhitty/FlyingFox", exact: "0.27.1"),
  ],
  targets: [
    .executableTarget(
      name: "NIOServer",
      dependencies: [
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
      ],
      path: "NIO"
    ),
    .executableTarget(
      name: "NIOAsyncServer",
      dependencies: [
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
      ],
      path: "NIOAsync"
    ),
    .executableTarget(
      name: "FlyingSocksServer",
      dependencies: [.product(name: "FlyingSocks", package: "FlyingFox")],
      path: "FlyingSocks"
    ),
  ],
  swiftLanguageModes: [.v6]
)
