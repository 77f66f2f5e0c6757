// SPDX-License-Identifier: Apache-2.0

import Glibc
import ProgramTesting

/// The Fortune Client that Qt's makers wrote, from Debian's package of Qt's examples: a dialog, without a screen.
///
/// It takes its keys from a pipe that it believes to be a keyboard. What it shows is on no screen, but it is in its
/// memory as Qt keeps texts.
final class RunningQtClient {
  /// Nil when it is not installed.
  static let path: String? = {
    var found = glob_t()
    defer { globfree(&found) }
    let pattern = "/usr/lib/*/qt[56]/examples/network/fortuneclient/fortuneclient"
    guard glob(pattern, 0, nil, &found) == 0, found.gl_pathc > 0 else { return nil }
    return found.gl_pathv[0].map { String(cString: $0) }
  }()

  /// Where a test may go without it: not on a CI machine.
  static var isWanted: Bool {
    path != nil || getenv("CI") != nil
  }

  private let program: Program
  private let folder: String
  private let keyboard: Int32

  init() throws {
    guard let path = Self.path else { throw Failure(reason: "Qt's Fortune Client is not installed") }
    // Qt takes only what is below /dev for a keyboard.
    var template = Array("/dev/shm/fortune-keyboard-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw Failure(reason: "mkdtemp: \(errno)") }
    folder = String(decoding: template.dropLast().map(UInt8.init), as: UTF8.self)
    let pipe = folder + "/keys"
    // For writing and reading, so that opening does not wait for Qt, and Qt does not see an end.
    keyboard = mkfifo(pipe, 0o600) == 0 ? open(pipe, O_RDWR | O_CLOEXEC) : -1
    do {
      guard keyboard >= 0 else { throw Failure(reason: "mkfifo or open: \(errno)") }
      program = try Program(path: path, ["-platform", "offscreen", "-plugin", "evdevkeyboard:" + pipe])
    } catch {
      if keyboard >= 0 { close(keyboard) }
      unlink(pipe)
      rmdir(folder)
      throw error
    }
  }

  deinit {
    close(keyboard)
    unlink(folder + "/keys")
    rmdir(folder)
  }

  /// Fills in the dialog and presses Get Fortune, its default button.
  func ask(port: UInt16) {
    // The port's field has the focus; the server's name is before it, and filled in.
    press(.tab, withShift: true)
    type("127.0.0.1")
    press(.tab)
    type("\(port)")
    press(.enter)
  }

  /// Whether the client has read one of these texts; to be asked again until it has, or the time is over.
  ///
  /// As bytes they come with the high half of each unit first, and shifted by one byte that looks the same as the
  /// text; but units lie at even addresses, so there only a text that was read begins with a low half.
  func hasRead(oneOf texts: [String]) throws -> Bool {
    let wanted = texts.map { $0.utf16.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8($0 >> 8)] } }
    return try memory().contains { area in
      wanted.contains { area.contains(text: $0) }
    }
  }

  // MARK: -

  /// The numbers of `linux/input-event-codes.h`.
  private enum Key: UInt16 {
    case one = 2
    case zero = 11
    case tab = 15
    case enter = 28
    case leftShift = 42
    case dot = 52
  }

  private func type(_ text: String) {
    for character in text {
      switch character.wholeNumberValue {
      case 0: press(Key.zero.rawValue)
      case let digit?: press(Key.one.rawValue + UInt16(digit - 1))
      case nil: press(.dot)
      }
    }
  }

  private func press(_ key: Key, withShift: Bool = false) {
    if withShift { send(Key.leftShift.rawValue, isDown: true) }
    press(key.rawValue)
    if withShift { send(Key.leftShift.rawValue, isDown: false) }
  }

  private func press(_ key: UInt16) {
    send(key, isDown: true)
    send(key, isDown: false)
  }

  /// The kernel's `struct input_event`: a time that is not read, then type, code and value.
  private func send(_ key: UInt16, isDown: Bool) {
    let keyEvent: UInt16 = 1
    var event = [UInt8](repeating: 0, count: MemoryLayout<timeval>.size)
    withUnsafeBytes(of: keyEvent) { event += $0 }
    withUnsafeBytes(of: key) { event += $0 }
    withUnsafeBytes(of: Int32(isDown ? 1 : 0)) { event += $0 }
    write(keyboard, event, event.count)
  }

  /// What the client may write to of its memory.
  private func memory() throws -> [[UInt8]] {
    guard let maps = fopen("/proc/\(program.process)/maps", "r") else {
      throw Failure(reason: "maps: \(errno)")
    }
    defer { fclose(maps) }
    let file = open("/proc/\(program.process)/mem", O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { throw Failure(reason: "mem: \(errno)") }
    defer { close(file) }

    var areas: [[UInt8]] = []
    var line: UnsafeMutablePointer<CChar>?
    var size = 0
    defer { free(line) }
    while getline(&line, &size, maps) > 0, let text = line.map({ String(cString: $0) }) {
      guard let match = text.firstMatch(of: /^([0-9a-f]+)-([0-9a-f]+) rw/),
        let begin = Int(match.1, radix: 16), let end = Int(match.2, radix: 16)
      else { continue }
      var area = [UInt8](repeating: 0, count: end - begin)
      let count = pread(file, &area, area.count, begin)
      if count > 0 { areas.append(Array(area[..<count])) }
    }
    return areas
  }

  struct Failure: Error {
    var reason: String
  }
}

extension [UInt8] {
  /// At an even place; the first is at an even address.
  fileprivate func contains(text: [UInt8]) -> Bool {
    withUnsafeBytes { bytes in
      guard let begin = bytes.baseAddress, let first = text.first else { return false }
      let end = begin + bytes.count
      var place = begin
      while end - place >= text.count, let next = memchr(place, CInt(first), end - place - text.count + 1) {
        let found = UnsafeRawPointer(next)
        if (found - begin).isMultiple(of: 2), memcmp(found, text, text.count) == 0 { return true }
        place = found + 1
      }
      return false
    }
  }
}
