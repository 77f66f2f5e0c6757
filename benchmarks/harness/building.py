# SPDX-License-Identifier: Apache-2.0
"""Builds the programs. Each builder leaves programs behind, or a reason why not."""

import os
import re
import shutil
import subprocess
import time

from .places import BENCHMARKS, BUILD, PROGRAMS, REPOSITORY

# A Swift package with SwiftNIO needs some minutes the first time.
LIMIT_SECONDS = 1800


class NotBuilt(Exception):
    """Why something was not built, for a person to read."""


class Builder:
    """Builds the programs of some servers, once."""

    tool = ""  # without which nothing can be built
    tool_packages = ""

    def build(self, names, say):
        """Builds the programs with these names. say(text) prints what is going on."""
        raise NotImplementedError

    def program(self, name):
        return PROGRAMS / name

    def require_tool(self):
        if not shutil.which(self.tool):
            advice = f"; Debian's package: {self.tool_packages}" if self.tool_packages else ""
            raise NotBuilt(f"{self.tool} is not installed{advice}")


class CMakeProject(Builder):
    """A folder with a CMakeLists.txt of its own."""

    tool, tool_packages = "cmake", "cmake"

    def __init__(self, source, build):
        self.source, self.folder = source, build

    def build(self, names, say):
        self.require_tool()
        if not (self.source / "CMakeLists.txt").exists():
            raise NotBuilt(f"{self.source.relative_to(BENCHMARKS.parent)} is not there")
        run(["cmake", "-S", self.source, "-B", self.folder, "-DCMAKE_BUILD_TYPE=Release",
             f"-DCMAKE_RUNTIME_OUTPUT_DIRECTORY={PROGRAMS}"], say)
        run(["cmake", "--build", self.folder, "--parallel", os.cpu_count() or 1], say)


class SwiftPackage(Builder):
    """A folder with a Package.swift; its products are built one by one, so that one that fails is alone."""

    tool = "swift"

    def __init__(self, folder):
        self.folder = folder

    def build(self, names, say):
        self.require_tool()
        run([REPOSITORY / "scripts/notice-new-files", self.folder.relative_to(REPOSITORY)], say)
        for name in names:
            run(["swift", "build", "--package-path", self.folder, "--configuration", "release", "--product", name], say)

    def program(self, name):
        return self.folder / ".build" / "release" / name


class Go(Builder):
    tool, tool_packages = "go", "golang-go"

    def __init__(self, folder, program):
        self._folder, self._program = BENCHMARKS / "Servers" / folder, program

    def build(self, names, say):
        self.require_tool()
        run(["go", "build", "-o", PROGRAMS / self._program, "."], say, folder=self._folder)


class Cargo(Builder):
    """With the crates that Debian installs: Servers/Tokio/.cargo says so, which is why it is built in there."""

    tool, tool_packages = "cargo", "cargo"

    def build(self, names, say):
        self.require_tool()
        target = BUILD / "cargo"
        run(["cargo", "build", "--release", "--offline", "--target-dir", target], say,
            folder=BENCHMARKS / "Servers/Tokio")
        PROGRAMS.mkdir(parents=True, exist_ok=True)
        # A new file: the one that is there may be running, and then nothing may write to it.
        beside = PROGRAMS / "tokio.new"
        shutil.copy2(target / "release" / "tokio", beside)
        beside.replace(PROGRAMS / "tokio")


class Node(Builder):
    """Nothing to build."""

    tool, tool_packages = "node", "nodejs"

    def build(self, names, say):
        self.require_tool()

    def program(self, name):
        return BENCHMARKS / "Servers/Node/server.js"


CMAKE = CMakeProject(BENCHMARKS, BUILD)
SWIFT = SwiftPackage(BENCHMARKS)
SWIFT_PEERS = SwiftPackage(BENCHMARKS / "Servers/SwiftPeers")
GO = Go("Go", "go")
CARGO = Cargo()
NODE = Node()


def cmake_project(name):
    """The server in Servers/NAME, alone: what it needs may not be installed."""
    builder = _projects.get(name)
    if builder is None:
        builder = _projects[name] = CMakeProject(BENCHMARKS / "Servers" / name, BUILD / name)
    return builder


_projects = {}


def run(command, say, folder=None):
    """Runs a step of a build, printing how long it takes; raises NotBuilt with the end of its output."""
    command = [str(part) for part in command]
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    log_path = BUILD / "last-build.log"
    with open(log_path, "w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            while process.poll() is None:
                seconds = time.monotonic() - started
                if seconds > LIMIT_SECONDS:
                    raise NotBuilt(f"'{' '.join(command)}' took more than {LIMIT_SECONDS} s")
                say(f"{seconds:.0f} s")
                try:
                    process.wait(1)
                except subprocess.TimeoutExpired:
                    pass
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        if process.returncode != 0:
            log.seek(0)
            lines = [line for line in log.read().splitlines() if line.strip()]
            end = [line for line in lines if re.search("error|not found", line, re.IGNORECASE)][:8] or lines[-8:]
            raise NotBuilt(f"'{' '.join(command)}' failed:\n    " + "\n    ".join(end))


def build_all(servers, progress):
    """Builds what these servers need. Returns {name: reason} of those that cannot be run."""
    skipped = {}
    groups = {}
    for server in servers:
        groups.setdefault(id(server.builder), []).append(server)
    for group in groups.values():
        builder = group[0].builder
        names = sorted({server.built_name for server in group if not server.command})
        reason = None
        # Swift products apart: one that does not compile leaves the others.
        parts = [[name] for name in names] if isinstance(builder, SwiftPackage) else [names]
        for part in parts:
            label = ", ".join(part) or group[0].name
            try:
                builder.build(part, lambda text, label=label: progress.show(f"building {label}: {text}"))
            except NotBuilt as error:
                reason = str(error)
                for server in group:
                    if server.built_name in part or not isinstance(builder, SwiftPackage):
                        skipped[server.name] = reason
        for server in group:
            if server.name not in skipped and not server.is_built():
                skipped[server.name] = "it was not built: something that it needs is not installed"
            if server.name in skipped and server.packages:
                skipped[server.name] += f"\n    Debian's packages for it: {server.packages}"
    return skipped
