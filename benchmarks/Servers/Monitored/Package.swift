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
    .package(url: "https://github.com/apple/swift-distributed-tracing", from: "1.7.3"),
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
        .product(name: "Tracing", package: "swift-distributed-tracing"),
      ],
      path: ".",
      sources: ["Monitored.swift", "PrometheusFactory.swift", "UnsampledTracer.swift"],
      // As in the library: without it the closures of `greet` would go through two conversions that a handler that is
      // written where it is given does not have.
      swiftSettings: [.enableUpcomingFeature("NonisolatedNonsendingByDefault")]
    )
  ],
  swiftLanguageModes: [.v6]
)
