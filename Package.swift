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
    .testTarget(
      name: "TCPServerKitTests",
      dependencies: [
        "TCPServerKit", "CServerCore", "CLibevent", "FaultInjection", "ChildIsolation", "ProxyHeaderVectors",
      ],
      swiftSettings: swiftSettings
    ),
  ],
  cLanguageStandard: .c11
)
