// SPDX-License-Identifier: Apache-2.0

internal import TCPServerKit

/// Elements in the order in which they came.
struct FirstInFirstOut<Element> {
  /// Nil where one was taken: it is released by then, and its place later.
  private var elements: [Element?] = []
  /// Those before are gone.
  private var begun = 0

  var count: Int { elements.count - begun }
  var first: Element? { begun < elements.count ? elements[begun] : nil }

  mutating func append(_ element: Element) {
    elements.append(element)
  }

  mutating func popFirst() -> Element? {
    guard begun < elements.count else { return nil }
    let element = exchange(&elements[begun], with: nil)
    begun += 1
    if begun == elements.count || begun > 1024 {
      elements.removeFirst(begun)
      begun = 0
    }
    return element
  }

  mutating func removeAll(where isGone: (Element) -> Bool) {
    elements.removeFirst(begun)
    begun = 0
    elements.removeAll { $0.map(isGone) ?? true }
  }
}

extension FirstInFirstOut: Sendable where Element: Sendable {}
