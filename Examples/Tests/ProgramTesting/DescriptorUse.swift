// SPDX-License-Identifier: Apache-2.0

/// How many descriptors a program that passes bytes on has while its clients read nothing, so that it holds their bytes.
package struct DescriptorUse {
  package private(set) var most = 0
  /// Whether each client has got in the end all that it has sent.
  package private(set) var isComplete = true

  /// Connects more clients to its port than it has descriptors for, each of which sends more than the kernel holds, and
  /// reads for one after the other what comes back.
  package init(of program: Program, at port: UInt16) throws {
    let bytes = 16 << 20
    let clients = (0..<24).compactMap { _ in Connection(port: port) }
    isComplete = clients.count == 24
    for client in clients { client.sendElsewhere(bytes, of: [UInt8](repeating: 1, count: 65536)) }
    _ = clients.first?.isReadable(within: 30_000)
    for client in clients {
      most = max(most, try program.openDescriptors())
      if client.receiveToEnd()?.count != bytes { isComplete = false }
    }
  }
}
