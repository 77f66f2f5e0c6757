// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

// A package of its own, so that building the library or the other examples does not fetch SwiftNIO.
// ServerProgram and ProgramTesting are links to the other examples' folders.
let package = Package(
  name: "NIOHandoff",
  dependencies: [
    .package(name: "TCPServerKit", path: "../.."),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
  ],
  targets: [
    .target(
      name: "ServerProgram",
      dependencies: [
        .product(name: "TCPServerKit", package: "TCPServerKit"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ]
    ),
    .executableTarget(
      name: "NIOHandoff",
      dependencies: [
        "ServerProgram",
        .product(name: "TCPServerKit", package: "TCPServerKit"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ]
    ),
    .target(name: "ChildIsolation", path: "Tests/ChildIsolation", cSettings: [.define("_GNU_SOURCE")]),
    .target(name: "ProgramTesting", dependencies: ["ChildIsolation"], path: "Tests/ProgramTesting"),
    .testTarget(name: "NIOHandoffTests", dependencies: ["NIOHandoff", "ProgramTesting"]),
  ],
  swiftLanguageModes: [.v6]
)
