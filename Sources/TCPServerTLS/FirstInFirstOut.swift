// SPDX-License-Identifier: Apache-2.0

/// Elements in the order in which they came.
struct FirstInFirstOut<Element> {
  private var elements: [Element] = []
  /// Those before are gone.
  private var begun = 0

  var count: Int { elements.count - begun }
  var first: Element? { begun < elements.count ? elements[begun] : nil }

  mutating func append(_ element: Element) {
    elements.append(element)
  }

  mutating func popFirst() -> Element? {
    guard let element = first else { return nil }
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
    elements.removeAll(where: isGone)
  }
}

extension FirstInFirstOut: Sendable where Element: Sendable {}
