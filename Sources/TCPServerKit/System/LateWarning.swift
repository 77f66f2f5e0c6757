// SPDX-License-Identifier: Apache-2.0

/// A line on standard error two seconds after this was made, unless it was released before: for a mistake that would
/// otherwise be a program that does nothing, without a word.
final class LateWarning: Sendable {
  init(_ text: String) {
    Task.detached { [weak self] in
      try? await Task.sleep(for: .seconds(2))
      if self != nil { SystemCalls.warn("TCPServerKit: \(text)") }
    }
  }
}
