// swift-tools-version: 6.3
import PackageDescription

/// No dependency but the toolchain: a clean clone builds offline.
let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .enableExperimentalFeature("Lifetimes"),
]

let package = Package(
    name: "serverpy",
    products: [
        .executable(name: "serverpyctl", targets: ["serverpyctl"]),
        .executable(name: "discoveryd", targets: ["discoveryd"]),
        .executable(name: "forwarderd", targets: ["forwarderd"]),
    ],
    targets: [
        .systemLibrary(name: "CLinux", path: "Sources/Shared/CLinux"),
        .target(
            name: "Shared", dependencies: ["CLinux"], exclude: ["CLinux", "Snapshot/README.md"],
            swiftSettings: settings),
        .executableTarget(
            name: "discoveryd", dependencies: ["Shared"], exclude: ["README.md"], swiftSettings: settings),
        .executableTarget(
            name: "forwarderd", dependencies: ["Shared"], exclude: ["README.md"], swiftSettings: settings),
        // The two daemons are dependencies so that `swift run serverpyctl` builds all three.
        .executableTarget(
            name: "serverpyctl", dependencies: ["Shared", "discoveryd", "forwarderd"],
            swiftSettings: settings),
        .testTarget(name: "SharedTests", dependencies: ["Shared"], swiftSettings: settings),
        .testTarget(
            name: "DiscoverydTests", dependencies: ["discoveryd", "Shared"],
            swiftSettings: settings),
        .testTarget(
            name: "ForwarderdTests", dependencies: ["forwarderd", "Shared"],
            swiftSettings: settings),
        .testTarget(
            name: "ServerpyctlTests", dependencies: ["serverpyctl", "Shared"],
            swiftSettings: settings),
        .testTarget(
            name: "IntegrationTests", dependencies: ["serverpyctl", "Shared"],
            swiftSettings: settings),
    ]
)
