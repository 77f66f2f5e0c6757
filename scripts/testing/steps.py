# SPDX-License-Identifier: Apache-2.0
"""The steps of `make test`, and those that .ci/run has after them."""

from dataclasses import dataclass, field

from . import results


@dataclass(frozen=True)
class Step:
    name: str  # as scripts/test NAME
    title: str
    command: tuple
    read: object = results.check
    options: dict = field(default_factory=dict)


def swift(name, title, package=None, scratch=None, test=()):
    options = {option: value for option, value in (("package", package), ("scratch", scratch)) if value}
    folders = [word for option, value in options.items() for word in (f"--{option}-path", value)]
    return Step(name, title, ("scripts/test-swift", *folders, "--", *test), results.swift, options)


# One folder for the packages that use the library as it is: each would build it again. That of the service has traits.
SHARED = ".build"

# Two groups that run beside each other, and what the one does that is done first: in a new clone the second, later the
# first. What builds Swift leaves a processor idle again and again.
SWIFT_STEPS = (
    swift("test-swift", "Swift tests"),
    Step("check-thread-classes", "Every public member has a thread class", ("scripts/check-thread-classes",)),
    Step("check-natural-programs", "Programs that share sockets compile", ("scripts/check-natural-programs",)),
    swift("test-examples", "Examples", "Examples", scratch=SHARED, test=("--skip", "QtClientTests")),
    swift("test-nio", "Handoff to SwiftNIO", "Examples/NIOHandoff", scratch=SHARED),
    swift("test-service", "A service, its monitors and Prometheus", "Examples/Service"),
    # After it, in whose build folder its dependencies are.
    Step("test-traits", "Packages that use no trait, each, all", ("Tests/Consumers/traits/check",)),
    Step("test-consumer", "A package that depends on this one", ("Tests/Consumers/swift-package/check",)),
    Step("check-documentation", "The code in the documentation", ("scripts/check-documentation",)),
    Step("docs", "The documentation as a site", ("scripts/build-documentation",)),
)
OTHER_STEPS = (
    # What a change breaks first, and what takes seconds.
    Step("format-check", "Format", ("scripts/format", "--check")),
    Step("check-error-texts", "Every error text is tested", ("scripts/check-error-texts",)),
    Step("check-language", "Plain words in comments", ("scripts/check-language",)),
    Step("check-async-documentation", "Cancellation and isolation are documented",
         ("scripts/check-async-documentation",)),
    Step("test-c", "C tests", ("scripts/test-c",), results.ctest, {"folder": "build/release"}),
    Step("test-benchmarks", "Tests of the benchmarks", ("benchmarks/test", "--verbose"), results.unittest,
         {"program": "benchmarks/test"}),
    Step("check-counts", "Exact counts of calls and allocations", ("benchmarks/check-counts",)),
    Step("count-monitoring", "What a log, metrics and tracing cost", ("benchmarks/count-monitoring",)),
)
SHARED_STEPS = (
    Step("test-readme", "What README.md says to users",
         ("scripts/own-network", "Tests/Consumers/readme/check")),
    Step("check-floors", "Floors: nothing uses what is above it", ("scripts/check-floors",)),
    Step("test-build", "Tests of the scripts", ("Tests/Build/run", "discover", "--verbose"), results.unittest,
         {"program": "Tests/Build/run"}),
)
STEPS = SWIFT_STEPS + OTHER_STEPS + SHARED_STEPS

# What .ci/run adds: programs that others wrote, and what takes long.
LONG_STEPS = (
    Step("check-commits", "Subjects of commits", ("scripts/check-commits",)),
    Step("test-c-clang", "What uses the C library, built by clang", ("scripts/test-c", "clang"), results.ctest,
         {"folder": "build/dev-clang"}),
    swift("test-qt-client", "Qt's own Fortune Client", "Examples", scratch=SHARED, test=("--filter", "QtClientTests")),
    Step("test-first-minute", "README.md's first minute, without nc and xxd", ("Tests/Consumers/readme/first-minute",)),
    swift("test-torrent", "Torrent among real clients", "Examples/Torrent", scratch=SHARED),
    Step("test-hostile", "Floods, scans, limits, other processes", ("Tests/Hostile/run",)),
    Step("test-restart", "Hot restarts while clients connect", ("Tests/Restart/run", "--may-be-slow")),
    # In the build of test-swift.
    Step("test-tls", "Encrypted servers, attackers and scanners", ("Tests/TLS/run",)),
    # After the step that has built the program.
    Step("test-deploying", "Deployed: a root of its own, process 1", ("Tests/Deploying/run",)),
    # The same inputs each time: a change fails for what it breaks, not by bad luck.
    *(Step(name, title, ("scripts/in-background", "env", "FUZZ_SEED=1", "scripts/fuzz", *targets))
      for name, title, targets in (
          ("fuzz", "Fuzzing",
           ("5", "addresses", "handover_message", "servers", "service_variables", "tls_hello", "tls_settings")),
          ("fuzz-socks5", "Fuzzing the SOCKS5 conversation", ("20", "socks5")),
          ("fuzz-proxy", "Fuzzing PROXY headers", ("300", "proxy_header")),
      )),
    Step("soak", "Soak", ("env", "SOAK_CONFIGURATION=debug", "SOAK_EVENT=300", "scripts/soak", "20000")),
    *(Step(f"test-sanitizers-{name}", title, ("scripts/test-sanitizers", name)) for name, title in (
        ("address", "Address and undefined behaviour"),
        ("thread", "Thread sanitizer"),
        ("valgrind", "C tests under valgrind"),
    )),
    # Of the Swift tests that ran under the address sanitizer: building them once more takes minutes.
    Step("coverage", "Coverage", ("scripts/coverage", "--swift-build", ".build/address-sanitizer")),
)
