// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
@preconcurrency import Glibc
import PackageDescription

// SwiftPM identifies packages by their folders' names, in lower case: a repository in a folder named Service, and this one.
let folders = Context.packageDirectory.split(separator: "/").map { $0.lowercased() }
if folders.suffix(3).first == folders.last {
  fputs("SwiftPM takes the repository for this package: clone it to a folder with another name.\n", stderr)
  exit(1)
}

// A package of its own, so that building the library or the other examples does not fetch what its traits need.
// ProgramTesting is a link to the other examples' folder.
let package = Package(
  name: "Service",
  dependencies: [
    .package(
      name: "TCPServerKit",
      path: "../..",
      traits: ["ServiceLifecycle", "Logging", "Metrics", "Tracing"]
    ),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
    .package(url: "https://github.com/apple/swift-distributed-tracing", from: "1.7.3"),
  ],
  targets: [
    .executableTarget(
      name: "Service",
      dependencies: [
        .product(name: "TCPServerKit", package: "TCPServerKit"),
        .product(name: "TCPServerKitService", package: "TCPServerKit"),
        .product(name: "TCPServerKitLogging", package: "TCPServerKit"),
        .product(name: "TCPServerKitMetrics", package: "TCPServerKit"),
        .product(name: "TCPServerKitTracing", package: "TCPServerKit"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "Metrics", package: "swift-metrics"),
      ]
    ),
    .target(name: "ChildIsolation", path: "Tests/ChildIsolation", cSettings: [.define("_GNU_SOURCE")]),
    .target(name: "ProgramTesting", dependencies: ["ChildIsolation"], path: "Tests/ProgramTesting"),
    .testTarget(
      name: "ServiceTests",
      dependencies: [
        "Service", "ProgramTesting",
        .product(name: "TCPServerKit", package: "TCPServerKit"),
        .product(name: "TCPServerKitService", package: "TCPServerKit"),
        .product(name: "TCPServerKitLogging", package: "TCPServerKit"),
        .product(name: "TCPServerKitMetrics", package: "TCPServerKit"),
        .product(name: "TCPServerKitTracing", package: "TCPServerKit"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "MetricsTestKit", package: "swift-metrics"),
        .product(name: "InMemoryLogging", package: "swift-log"),
        .product(name: "InMemoryTracing", package: "swift-distributed-tracing"),
      ]
    ),
  ],
  swiftLanguageModes: [.v6]
)
