// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

// Programs that depend on this package: every warning is an error, concurrency is checked completely, in
// Swift 6's mode without a setting more.
let kit = Target.Dependency.product(name: "TCPServerKit", package: "TCPServerKit")

let package = Package(
  name: "Consumer",
  dependencies: [.package(name: "TCPServerKit", path: "../../..")],
  targets: [
    .executableTarget(
      name: "TLSContext",
      dependencies: [.product(name: "CServerTLS", package: "TCPServerKit")],
      swiftSettings: [.treatAllWarnings(as: .error)]
    ),
    .executableTarget(
      name: "Callbacks",
      dependencies: [kit],
      swiftSettings: [.treatAllWarnings(as: .error)]
    ),
    .executableTarget(
      name: "Serving",
      dependencies: [kit],
      swiftSettings: [.treatAllWarnings(as: .error)]
    ),
    .executableTarget(
      name: "ServingInSwift5",
      dependencies: [kit],
      swiftSettings: [
        .swiftLanguageMode(.v5),
        .enableExperimentalFeature("StrictConcurrency"),
        .treatAllWarnings(as: .error),
      ]
    ),
  ]
)
