// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

// A package of its own, because it fetches what the traits need. PrometheusFactory.swift is a link to the example's.
let package = Package(
  name: "Monitored",
  dependencies: [
    .package(
      name: "TCPServerKit",
      path: "../../..",
      traits: ["Logging", "Metrics", "Tracing"]
    ),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
  ],
  targets: [
    .executableTarget(
      name: "monitored",
      dependencies: [
        .product(name: "TCPServerKit", package: "TCPServerKit"),
        .product(name: "TCPServerKitLogging", package: "TCPServerKit"),
        .product(name: "TCPServerKitMetrics", package: "TCPServerKit"),
        .product(name: "TCPServerKitTracing", package: "TCPServerKit"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "Metrics", package: "swift-metrics"),
      ],
      path: ".",
      sources: ["Monitored.swift", "PrometheusFactory.swift"]
    )
  ],
  swiftLanguageModes: [.v6]
)
