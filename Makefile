# What a person or a CI machine does with this repository. `make` alone says what there is.

PORT ?= 4242
ARGS ?=
SECONDS ?= 60
CONNECTIONS ?= 200000
# Of scripts/testing/steps.py, the last five for .ci/run alone.
STEPS = format-check check-error-texts check-language check-floors check-async-documentation test-build test-swift test-c \
	test-examples test-nio test-service test-traits test-consumer test-readme test-benchmarks check-counts count-monitoring check-thread-classes check-natural-programs check-documentation \
	test-c-clang test-qt-client test-first-minute test-torrent test-deploying

# Only GNU make's own bookkeeping may run at once: the steps share build folders and print one after the other.
.NOTPARALLEL:
.PHONY: help run fortune bench bench-quick bench-loops bench-tls bench-services test $(STEPS) docs test-hostile hostile test-restart restarts test-tls judge-tls deploying test-sanitizers check coverage fuzz soak torture format clean \
	dependencies-run dependencies-docs dependencies-test dependencies-ci

help:
	@echo 'make run [PORT=4242] [ARGS=...]  serve fortunes until Ctrl-C (PORT=0: any free port)'
	@echo 'make fortune [PORT=4242]         ask the server of make run for a fortune'
	@echo 'make test                        all tests and checks, a line for each (5 minutes)'
	@echo 'make torture                     every system call and allocation fails, in every way (a few minutes)'
	@echo 'make test-sanitizers             the tests under the sanitizers, the C tests under valgrind'
	@echo 'make coverage                    which lines and branches the tests reach'
	@echo 'make fuzz [SECONDS=60]           random input for the C core, TLS and SOCKS5, so long for each target'
	@echo 'make soak [CONNECTIONS=200000]   that many for each of our servers, while things happen to them'
	@echo 'make hostile                     floods, scans, limits, slow peers at length, with a table (20 minutes)'
	@echo 'make judge-tls                   encrypted servers against attackers, scanners and silent clients (10 minutes)'
	@echo 'make restarts                    100 hot restarts at 5,000 clients a second, then other ways beside it (6 minutes)'
	@echo 'make deploying                   EchoServer in a bare Debian, as the article "Deploying" says (needs root; minutes)'
	@echo 'make docs                        build the documentation as a site in build/documentation'
	@echo 'make format                      format all code'
	@echo 'make format-check                check its format'
	@echo 'make check                       what CI runs: make test, more programs, all of the above for a short time'
	@echo 'make bench                       measure beside other servers, into benchmarks/RESULTS.md (40 minutes)'
	@echo 'make bench-quick                 the same with few servers and loads, tables only (3 minutes)'
	@echo 'make bench-loops                 servers with two event loops, into benchmarks/RESULTS-LOOPS.md (20 minutes)'
	@echo 'make bench-tls                   servers of encrypted connections, into benchmarks/RESULTS-TLS.md (10 minutes)'
	@echo 'make bench-services              relays and small requests, into benchmarks/RESULTS-SERVICES.md (4 minutes)'
	@echo 'make clean                       remove everything that was built'

run: dependencies-run
	@scripts/notice-new-files Examples
	@swift build --package-path Examples --configuration release --product FortuneServer
	@scripts/run-from-make Examples/.build/release/FortuneServer --port '$(PORT)' $(ARGS)

fortune: dependencies-run
	@scripts/notice-new-files Examples
	@swift build --quiet --package-path Examples --configuration release --product FortuneClient
	@Examples/.build/release/FortuneClient 127.0.0.1 '$(PORT)' $(ARGS)

test: dependencies-test
	@scripts/test

$(STEPS):
	@scripts/test $@

test-torrent test-qt-client test-c-clang: dependencies-ci

test-hostile: dependencies-ci
	@scripts/step 'Floods, scans, limits and other processes' Tests/Hostile/run $(ARGS)

docs: dependencies-docs
	@scripts/build-documentation

hostile: dependencies-ci
	@Tests/Hostile/run --long $(ARGS)

test-restart: dependencies-ci
	@scripts/step 'Hot restarts while clients connect' Tests/Restart/run $(ARGS)

restarts: dependencies-ci
	@Tests/Restart/run --restarts 100 --rate 5000 --held 1000 $(ARGS)
	@Tests/Restart/run --table --restarts 20 --pause 0.5 --rate 2000 --held 200

test-tls: dependencies-ci
	@scripts/step 'Encrypted servers, attackers and scanners' Tests/TLS/run $(ARGS)

judge-tls: dependencies-ci
	@Tests/TLS/run --long $(ARGS)

deploying: dependencies-ci
	@scripts/step 'Deploying' Tests/Deploying/run --debootstrap $(ARGS)

torture: dependencies-test
	@scripts/step 'Torture' scripts/torture

format:
	@scripts/format

test-sanitizers: dependencies-test
	@scripts/test-sanitizers address thread valgrind

coverage: dependencies-test
	@scripts/step 'Coverage' scripts/coverage

fuzz: dependencies-test
	@scripts/step 'Fuzzing' scripts/fuzz '$(SECONDS)'

soak: dependencies-test
	@scripts/step 'Soak' scripts/soak '$(CONNECTIONS)'

check:
	@.ci/run

# Statuses: 0 for all measured, 1 for all but what failed, which the report names, too; others have nothing to report.
bench:
	@benchmarks/run $(ARGS); status=$$?; if [ $$status -le 1 ]; then benchmarks/report || exit; fi; exit $$status

bench-quick:
	@benchmarks/run --quick $(ARGS)

bench-loops:
	@benchmarks/loops $(ARGS)

bench-tls:
	@benchmarks/tls $(ARGS)

bench-services:
	@benchmarks/services $(ARGS)

clean:
	rm -rf .build build benchmarks/.build benchmarks/Servers/SwiftPeers/.build benchmarks/Servers/NIOTLS/.build benchmarks/Servers/Monitored/.build Examples/.build Examples/NIOHandoff/.build Examples/Service/.build Examples/Torrent/.build

dependencies-run:
	@scripts/install-dependencies run

dependencies-docs:
	@scripts/install-dependencies docs

dependencies-test:
	@scripts/install-dependencies test

dependencies-ci:
	@scripts/install-dependencies ci
