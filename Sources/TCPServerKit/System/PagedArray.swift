// SPDX-License-Identifier: Apache-2.0

/// An array that grows by pages: elements never move, so that growing stalls no loop, and no room is reserved for
/// twice as many.
struct PagedArray<Element> {
  private static var pageSize: Int { 480 }
  private var pages: [[Element]] = []
  private(set) var count = 0

  subscript(index: Int) -> Element {
    get { pages[index / Self.pageSize][index % Self.pageSize] }
    _modify { yield &pages[index / Self.pageSize][index % Self.pageSize] }
  }

  mutating func append(_ element: Element) {
    let page = count / Self.pageSize
    if page == pages.count {
      var new: [Element] = []
      new.reserveCapacity(Self.pageSize)
      pages.append(new)
    }
    pages[page].append(element)
    count += 1
  }

  /// Keeps an empty page: a number that goes up and down at a page's border costs no memory calls.
  mutating func removeLast() {
    count -= 1
    pages[count / Self.pageSize].removeLast()
    if pages.count > count / Self.pageSize + 2 { pages.removeLast() }
  }
}
