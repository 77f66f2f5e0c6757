# What a person or a CI machine does with this repository. `make` alone says what there is.

PORT ?= 4242
ARGS ?=
SECONDS ?= 60
CONNECTIONS ?= 200000
SWIFT_TEST = scripts/test-swift

# Only GNU make's own bookkeeping may run at once: the steps share build folders and print one after the other.
.NOTPARALLEL:
.PHONY: help run bench bench-quick test test-swift test-c test-examples test-nio test-torrent test-consumer \
	test-readme test-benchmarks test-hostile hostile test-sanitizers check coverage fuzz soak torture \
	check-error-texts check-counts check-thread-confinement check-documentation check-async-documentation \
	docs format format-check clean dependencies-run dependencies-docs dependencies-test

help:
	@echo 'make run [PORT=4242] [ARGS=...]  serve fortunes until Ctrl-C (PORT=0: any free port)'
	@echo 'make test                        all tests and checks'
	@echo 'make torture                     every system call and allocation fails, in every way (a few minutes)'
	@echo 'make test-sanitizers             the tests under the sanitizers, the C tests under valgrind'
	@echo 'make coverage                    which lines and branches the tests reach'
	@echo 'make fuzz [SECONDS=60]           random input and calls for the C core, so long for each target'
	@echo 'make soak [CONNECTIONS=200000]   that many for each of our servers, while things happen to them'
	@echo 'make hostile                     floods, scans, limits, slow peers at length, with a table (20 minutes)'
	@echo 'make docs                        build the documentation as a site in build/documentation'
	@echo 'make format                      format all code'
	@echo 'make format-check                check its format'
	@echo 'make check                       what CI runs: make test, and all of the above for a short time'
	@echo 'make bench                       measure beside other servers, into benchmarks/RESULTS.md (25 minutes)'
	@echo 'make bench-quick                 the same with few servers and loads, tables only (3 minutes)'
	@echo 'make clean                       remove everything that was built'

run: dependencies-run
	@scripts/notice-new-files Examples
	@swift build --package-path Examples --configuration release --product FortuneServer
	@scripts/run-from-make Examples/.build/release/FortuneServer --port '$(PORT)' $(ARGS)

test: dependencies-test check-error-texts test-swift test-c test-examples test-nio test-torrent test-consumer \
	test-readme check-counts check-thread-confinement \
	check-documentation check-async-documentation docs format-check
	@echo 'All tests passed.'

test-hostile:
	@scripts/install-dependencies hostile
	@scripts/step 'Floods, scans, limits and other processes' Tests/Hostile/run $(ARGS)

hostile:
	@scripts/install-dependencies hostile
	@Tests/Hostile/run --long $(ARGS)

test-swift:
	@scripts/step 'Swift tests' $(SWIFT_TEST)

test-c:
	@scripts/step 'C tests' scripts/test-c

test-examples:
	@scripts/notice-new-files Examples
	@scripts/step 'Tests of the examples' $(SWIFT_TEST) --package-path Examples

test-nio:
	@scripts/notice-new-files Examples/NIOHandoff
	@scripts/step 'Tests of the handoff to SwiftNIO' $(SWIFT_TEST) --package-path Examples/NIOHandoff

test-torrent:
	@scripts/notice-new-files Examples/Torrent
	@scripts/step 'Tests of the torrent client' $(SWIFT_TEST) --package-path Examples/Torrent

torture: dependencies-test
	@scripts/step 'Torture' scripts/torture

test-consumer:
	@scripts/step 'A package that depends on this one' Tests/Consumers/swift-package/check

test-readme:
	@scripts/step 'What README.md says to users, on a clean machine' scripts/own-network Tests/Consumers/readme/check

test-benchmarks:
	@scripts/step 'Tests of the benchmarks' benchmarks/test

check-counts:
	@scripts/step 'Exact counts' benchmarks/check-counts

check-thread-confinement:
	@scripts/step 'Sockets stay on their thread' scripts/check-thread-confinement

check-documentation:
	@scripts/step 'The code in README.md and the articles' scripts/check-documentation

check-async-documentation:
	@scripts/step 'Cancellation and isolation of async functions' scripts/check-async-documentation

check-error-texts:
	@scripts/step 'Every error text is tested' scripts/check-error-texts

docs: dependencies-docs
	@scripts/step 'The documentation as a site' scripts/build-documentation

format-check:
	@scripts/step 'Format' scripts/format --check

format:
	@scripts/format

test-sanitizers: dependencies-test
	@scripts/test-sanitizers address undefined thread valgrind

coverage: dependencies-test
	@scripts/step 'Coverage' scripts/coverage

fuzz: dependencies-test
	@scripts/step 'Fuzzing' scripts/fuzz '$(SECONDS)'

soak: dependencies-test
	@scripts/step 'Soak' scripts/soak '$(CONNECTIONS)'

check:
	@.ci/run

# Statuses: 0 for all measured, 1 for all but what failed, which the report tells too; others have nothing to report.
bench:
	@benchmarks/run $(ARGS); status=$$?; if [ $$status -le 1 ]; then benchmarks/report || exit; fi; exit $$status

bench-quick:
	@benchmarks/run --quick $(ARGS)

clean:
	rm -rf .build build benchmarks/.build benchmarks/Servers/SwiftPeers/.build Examples/.build Examples/NIOHandoff/.build Examples/Torrent/.build

dependencies-run:
	@scripts/install-dependencies run

dependencies-docs:
	@scripts/install-dependencies docs

dependencies-test:
	@scripts/install-dependencies test
