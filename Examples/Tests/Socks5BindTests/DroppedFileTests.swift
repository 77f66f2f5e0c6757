// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

@testable import Socks5Bind

@Suite("Files on their way in")
struct DroppedFileTests {
  @Test("A file has its name only when it is complete")
  func naming() throws {
    let place = try TemporaryFolder()
    let folder = try DropFolder(path: place.path)
    do {
      let file = try DroppedFile(in: folder)
      try file.append([1, 2])
      #expect(place.names.allSatisfy { $0.hasPrefix(".drop-") && $0.hasSuffix(".part") })
      #expect(try file.store() == "drop-1")
      #expect(place.contents(of: "drop-1") == [1, 2])
    }
    #expect(place.names == ["drop-1"])
  }

  @Test("A file that is not stored leaves nothing")
  func dropped() throws {
    let place = try TemporaryFolder()
    try DroppedFile(in: try DropFolder(path: place.path)).append([1])
    #expect(place.names == [])
  }

  @Test("A file that another program has made is not replaced")
  func taken() throws {
    let place = try TemporaryFolder()
    let folder = try DropFolder(path: place.path)
    try place.write("theirs", to: "drop-1")
    try place.write("theirs", to: "drop-2")
    #expect(try DroppedFile(in: folder).store() == "drop-3")
    #expect(place.contents(of: "drop-1") == Array("theirs".utf8))
    #expect(try DroppedFile(in: folder).store() == "drop-4")
  }

  @Test("A file whose folder has gone is not stored, with the reason")
  func folderGone() throws {
    var place: TemporaryFolder? = try TemporaryFolder()
    let folder = try DropFolder(path: try #require(place).path)
    let file = try DroppedFile(in: folder)
    place = nil
    #expect { try file.store() } throws: { "\($0)" == "Naming: No such file or directory" }
    #expect { try DropFolder(path: folder.path) } throws: {
      "\($0)" == "Opening the folder: No such file or directory"
    }
  }

  @Test("A disk that is full is noticed before the file has a name")
  func full() throws {
    let place = try TemporaryFolder()
    let file = try DroppedFile(in: try DropFolder(path: place.path))
    // Whatever is written fails from here on, as on a full disk.
    let part = try #require(place.names.first)
    let full = open("/dev/full", O_WRONLY | O_CLOEXEC)
    let itsDescriptor = try #require(descriptor(of: place.path + "/" + part))
    dup2(full, itsDescriptor)
    _ = fcntl(itsDescriptor, F_SETFD, FD_CLOEXEC)
    close(full)
    #expect { try file.append([1]) } throws: { "\($0)" == "Writing: No space left on device" }
  }

  /// By which this process has opened the file.
  private func descriptor(of path: String) -> CInt? {
    (0..<1024).first { number in
      var target = [CChar](repeating: 0, count: 4096)
      let count = readlink("/proc/self/fd/\(number)", &target, target.count)
      return count > 0
        && String(decoding: target[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self) == path
    }
  }
}
