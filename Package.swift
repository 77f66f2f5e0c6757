// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

let swiftSettings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .strictMemorySafety(),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InferIsolatedConformances"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

let package = Package(
  name: "TCPServerKit",
  products: [
    .library(name: "TCPServerKit", targets: ["TCPServerKit"]),
    .library(name: "CServerCore", targets: ["CServerCore"]),
    .library(name: "CServerTLS", targets: ["CServerTLS"]),
    .library(name: "TCPServerTLS", targets: ["TCPServerTLS"]),
    .library(name: "TCPServerKitService", targets: ["TCPServerKitService"]),
    .library(name: "TCPServerKitLogging", targets: ["TCPServerKitLogging"]),
    .library(name: "TCPServerKitMetrics", targets: ["TCPServerKitMetrics"]),
    .library(name: "TCPServerKitTracing", targets: ["TCPServerKitTracing"]),
  ],
  // Each has one product of the same ending, and the package that this needs: one that is off is not fetched.
  traits: [
    .trait(name: "ServiceLifecycle", description: "TCPServerKitService, with swift-service-lifecycle"),
    .trait(name: "Logging", description: "TCPServerKitLogging, with swift-log"),
    .trait(name: "Metrics", description: "TCPServerKitMetrics, with swift-metrics"),
    .trait(name: "Tracing", description: "TCPServerKitTracing, with swift-distributed-tracing"),
    .default(enabledTraits: []),
  ],
  dependencies: [
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
    .package(url: "https://github.com/apple/swift-distributed-tracing", from: "1.7.3"),
  ],
  targets: [
    .systemLibrary(
      name: "CLibevent",
      pkgConfig: "libevent_core",
      providers: [.apt(["libevent-dev"]), .yum(["libevent-devel"])]
    ),
    .target(
      name: "CServerCore",
      dependencies: ["CLibevent"],
      cSettings: [
        .define("_GNU_SOURCE"),
        .enableWarning("all"),
        .enableWarning("extra"),
      ]
    ),
    // No system library target for OpenSSL: a package that does not use this needs no development files of it, and
    // gets no warning that pkg-config does not find them.
    .target(
      name: "CServerTLS",
      cSettings: [
        .define("_GNU_SOURCE"),
        .enableWarning("all"),
        .enableWarning("extra"),
      ],
      linkerSettings: [.linkedLibrary("ssl"), .linkedLibrary("crypto")]
    ),
    .target(
      name: "TCPServerKit",
      dependencies: ["CServerCore", "CLibevent"],
      swiftSettings: swiftSettings
    ),
    .target(
      name: "TCPServerTLS",
      dependencies: ["TCPServerKit", "CServerTLS"],
      swiftSettings: swiftSettings
    ),
    .target(
      name: "TCPServerKitService",
      dependencies: [
        "TCPServerKit",
        .product(
          name: "ServiceLifecycle",
          package: "swift-service-lifecycle",
          condition: .when(traits: ["ServiceLifecycle"])
        ),
      ],
      swiftSettings: swiftSettings
    ),
    .target(
      name: "TCPServerKitLogging",
      dependencies: [
        "TCPServerKit",
        .product(name: "Logging", package: "swift-log", condition: .when(traits: ["Logging"])),
      ],
      swiftSettings: swiftSettings
    ),
    .target(
      name: "TCPServerKitMetrics",
      dependencies: [
        "TCPServerKit",
        .product(name: "Metrics", package: "swift-metrics", condition: .when(traits: ["Metrics"])),
      ],
      swiftSettings: swiftSettings
    ),
    .target(
      name: "TCPServerKitTracing",
      dependencies: [
        "TCPServerKit",
        .product(
          name: "Tracing",
          package: "swift-distributed-tracing",
          condition: .when(traits: ["Tracing"])
        ),
      ],
      swiftSettings: swiftSettings
    ),
    .target(
      name: "FaultInjection",
      path: "Tests/FaultInjection",
      cSettings: [.define("_GNU_SOURCE")]
    ),
    .target(
      name: "ChildIsolation",
      path: "Tests/ChildIsolation",
      cSettings: [.define("_GNU_SOURCE"), .enableWarning("all"), .enableWarning("extra")]
    ),
    .target(
      name: "ProxyHeaderVectors",
      dependencies: ["CServerCore"],
      path: "Tests/ProxyHeaderVectors"
    ),
    .executableTarget(
      name: "CrashingServer",
      dependencies: ["TCPServerKit"],
      path: "Tests/CrashingServer",
      swiftSettings: swiftSettings
    ),
    .executableTarget(
      name: "LoopPrograms",
      dependencies: ["TCPServerKit", "CLibevent"],
      path: "Tests/LoopPrograms",
      swiftSettings: swiftSettings
    ),
    .executableTarget(
      name: "SoakServer",
      dependencies: ["TCPServerKit"],
      path: "Tests/Soak/SwiftServer",
      swiftSettings: swiftSettings
    ),
    .executableTarget(
      name: "TLSJudgedServer",
      dependencies: ["TCPServerKit", "TCPServerTLS"],
      path: "Tests/TLS/Server",
      swiftSettings: swiftSettings
    ),
    .testTarget(
      name: "TCPServerKitTests",
      dependencies: [
        "TCPServerKit", "TCPServerTLS", "CServerCore", "CLibevent", "FaultInjection", "ChildIsolation",
        "ProxyHeaderVectors",
      ],
      swiftSettings: swiftSettings
    ),
  ],
  cLanguageStandard: .c11
)
