// SPDX-License-Identifier: Apache-2.0

/// What the Fortune Servers have to say.
public enum Fortunes {
  /// All of them.
  public static let all = [
    "The connection you are waiting for has already been accepted.",
    "A pending queue is only patience with a limit.",
    "Close early, close often, but never close twice.",
    "You will soon meet a stranger on a high port.",
    "He who blocks the loop waits for everybody.",
    "An error told once is worth a hundred retries.",
    "Today is a good day to read the manual page.",
  ]

  /// One of them, as it goes over the wire.
  public static func reply(framing: FortuneWire.Framing) -> [UInt8] {
    FortuneWire.encode(all.randomElement() ?? "", framing: framing)
  }
}
