// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import TCPServerTLS

@Suite("Elements in the order in which they came")
struct FirstInFirstOutTests {
  private final class Element {
    let number: Int

    init(_ number: Int) {
      self.number = number
    }
  }

  @Test("One that was taken is not kept, and the others are taken in their order")
  func released() {
    var queue = FirstInFirstOut<Element>()
    #expect(queue.popFirst() == nil)
    for number in 0..<3000 { queue.append(Element(number)) }
    for number in 0..<2500 {
      weak let first = queue.first
      #expect(first?.number == number)
      #expect(queue.popFirst()?.number == number)
      #expect(first == nil)
      #expect(queue.count == 2999 - number)
    }
    queue.removeAll { $0.number.isMultiple(of: 2) }
    #expect(queue.count == 250)
    #expect(queue.popFirst()?.number == 2501)
  }

  @Test("A thread's work is released when it is done")
  func works() throws {
    let queue = WorkerQueue()
    weak var held: Element?
    do {
      let element = Element(1)
      held = element
      nonisolated(unsafe) let captured = element
      queue.add { unsafe withExtendedLifetime(captured) {} }
      queue.add {}
    }
    #expect(held != nil)
    queue.end()
    queue.work()
    #expect(held == nil)
  }
}
