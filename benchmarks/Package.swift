// swift-tools-version: 6.2
import PackageDescription

// The Swift programs of the benchmarks, in a package of their own: the peers are no dependency of the library.
let package = Package(
  name: "TCPServerKitBenchmarks",
  products: [
    // One program, which looks at its own name.
    .executable(name: "ours-callback", targets: ["OursServer"]),
    .executable(name: "ours-callback-reg", targets: ["OursServer"]),
    .executable(name: "ours-async", targets: ["OursServer"]),
    .executable(name: "ours-sequence", targets: ["OursServer"]),
    .executable(name: "nio", targets: ["NIOServer"]),
    .executable(name: "nio-async", targets: ["NIOAsyncServer"]),
    .executable(name: "flyingsocks", targets: ["FlyingSocksServer"]),
  ],
  dependencies: [
    // Named, because SwiftPM would otherwise call it by the name of the folder it was cloned into.
    .package(name: "TCPServerKit", path: ".."),
    // Exact, because the results name them.
    .package(url: "https://github.com/apple/swift-nio", exact: "2.101.2"),
    .package(url: "https://github.com/swhitty/FlyingFox", exact: "0.27.1"),
  ],
  targets: [
    .executableTarget(
      name: "OursServer",
      dependencies: [.product(name: "TCPServerKit", package: "TCPServerKit")],
      path: "Servers/Ours",
      // Connections' handlers run where their sockets live, as the library's closures do.
      swiftSettings: [.enableUpcomingFeature("NonisolatedNonsendingByDefault")]
    ),
    .executableTarget(
      name: "NIOServer",
      dependencies: [
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
      ],
      path: "Servers/NIO"
    ),
    .executableTarget(
      name: "NIOAsyncServer",
      dependencies: [
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
      ],
      path: "Servers/NIOAsync"
    ),
    .executableTarget(
      name: "FlyingSocksServer",
      dependencies: [.product(name: "FlyingSocks", package: "FlyingFox")],
      path: "Servers/FlyingSocks"
    ),
  ],
  swiftLanguageModes: [.v6]
)
