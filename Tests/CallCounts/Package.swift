// swift-tools-version: 6.2
import PackageDescription

// What scripts/check-call-counts runs, outside the library's package so that no product has it.
let package = Package(
  name: "CallCounts",
  dependencies: [
    .package(name: "TCPServerKit", path: "../..")
  ],
  targets: [
    .target(
      name: "AllocationCounter",
      path: "AllocationCounter",
      cSettings: [.define("_GNU_SOURCE"), .enableWarning("all"), .enableWarning("extra")]
    ),
    .executableTarget(
      name: "CallCounts",
      dependencies: ["AllocationCounter", .product(name: "TCPServerKit", package: "TCPServerKit")],
      path: "CallCounts"
    ),
  ],
  swiftLanguageModes: [.v6],
  cLanguageStandard: .c11
)
