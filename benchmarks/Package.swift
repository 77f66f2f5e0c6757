// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

// TCPServerKit's own servers in the benchmarks. The peers have a package in Servers/SwiftPeers, so that this one fetches
// nothing.
let package = Package(
  name: "TCPServerKitBenchmarks",
  products: [
    // One program, which looks at its own name.
    .executable(name: "ours-callback", targets: ["OursServer"]),
    .executable(name: "ours-callback-reg", targets: ["OursServer"]),
    .executable(name: "ours-async-reg", targets: ["OursServer"]),
    .executable(name: "ours-async", targets: ["OursServer"]),
    .executable(name: "ours-sequence", targets: ["OursServer"]),
    .executable(name: "ours-callback-tls", targets: ["OursTLSServer"]),
    .executable(name: "ours-async-tls", targets: ["OursTLSServer"]),
  ],
  dependencies: [
    // Named, because SwiftPM would otherwise call it by the name of the folder it was cloned into.
    .package(name: "TCPServerKit", path: "..")
  ],
  targets: [
    .executableTarget(
      name: "OursServer",
      dependencies: [.product(name: "TCPServerKit", package: "TCPServerKit")],
      path: "Servers/Ours"
    ),
    .executableTarget(
      name: "OursTLSServer",
      dependencies: [
        .product(name: "TCPServerKit", package: "TCPServerKit"),
        .product(name: "TCPServerTLS", package: "TCPServerKit"),
      ],
      path: "Servers/OursTLS"
    ),
  ],
  swiftLanguageModes: [.v6]
)
