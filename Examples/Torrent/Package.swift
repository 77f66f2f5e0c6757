// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

let package = Package(
  name: "TorrentExample",
  dependencies: [
    // Named, because SwiftPM would otherwise call it by the name of the folder it was cloned into.
    .package(name: "TCPServerKit", path: "../.."),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.0.0"),
  ],
  targets: [
    .target(
      name: "BitTorrent",
      dependencies: [
        .product(name: "TCPServerKit", package: "TCPServerKit"),
        .product(name: "Crypto", package: "swift-crypto"),
      ],
      path: "BitTorrent",
      // The client's async functions run where its sockets live.
      swiftSettings: [.enableUpcomingFeature("NonisolatedNonsendingByDefault")]
    ),
    .executableTarget(
      name: "Torrent",
      dependencies: [
        "BitTorrent",
        .product(name: "TCPServerKit", package: "TCPServerKit"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "Torrent",
      swiftSettings: [.enableUpcomingFeature("NonisolatedNonsendingByDefault")]
    ),
    .target(name: "ChildIsolation", path: "Tests/ChildIsolation", cSettings: [.define("_GNU_SOURCE")]),
    .target(name: "ProgramTesting", dependencies: ["ChildIsolation"], path: "Tests/ProgramTesting"),
    .testTarget(
      name: "InteroperationTests",
      // The program too: the tests run it as a process.
      dependencies: ["ProgramTesting", "Torrent", .product(name: "Crypto", package: "swift-crypto")],
      path: "Tests/InteroperationTests"
    ),
    .testTarget(
      name: "TorrentTests",
      dependencies: ["BitTorrent"],
      path: "Tests/TorrentTests"
    ),
  ],
  swiftLanguageModes: [.v6]
)
