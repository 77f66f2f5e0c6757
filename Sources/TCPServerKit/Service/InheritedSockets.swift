// SPDX-License-Identifier: Apache-2.0

internal import CServerCore
internal import Glibc

/// Why the variables that describe inherited sockets were refused.
public struct InheritedSocketsError: Error, Hashable, Sendable, CustomStringConvertible {
  private let text: String

  init(_ error: csc_inherited_error) {
    text = unsafe String(cString: csc_inherited_error_text(error))
  }

  /// The error for a person to read, in English.
  public var description: String {
    text
  }
}

/// Sockets that a service manager, systemd for instance, has opened for the process, by their names.
///
/// ```swift
/// let inherited = try InheritedSockets.fromEnvironment()
/// try EventBaseGroup.run { group in
///   let server = TCPServerGroup(on: group)
///   try await server.listen(on: .inherited("http", from: inherited, orListen: .any, port: 8080))
///   inherited.closeRest()
///   try await server.serve { socket in try await socket.write("Hello\n") }
/// }
/// ```
///
/// A name is the `FileDescriptorName=` of a socket unit, which is the unit's own name where it has none; several sockets
/// may have the same. It is a label, and proves nothing.
///
/// A descriptor belongs to this object until it is taken; those that nothing has taken are closed by ``closeRest()``, or
/// with the object. <doc:RunningUnderSystemd> has units to begin with.
///
/// ## Thread
///
/// Every member may be called from any task and thread, ``fromEnvironment()`` before there is a second one.
public final class InheritedSockets: Sendable {
  /// `@unchecked Sendable` because of this invariant: the holder of the lock alone touches it.
  @safe private struct Content: @unchecked Sendable {
    var set: OpaquePointer?
    /// Those that a server is just taking over.
    var reserved: Set<Int> = []
    /// Those of them that are to be closed if it does not.
    var unwanted: Set<Int> = []

    var all: Range<Int> {
      unsafe 0..<csc_inherited_count(set)
    }

    func name(_ index: Int) -> String {
      unsafe String(cString: csc_inherited_name(set, index))
    }

    func isFree(_ index: Int, named name: String) -> Bool {
      guard unsafe csc_inherited_descriptor(set, index) >= 0 else { return false }
      return !reserved.contains(index) && self.name(index) == name
    }
  }

  /// A listening socket that a server is to take over.
  struct Reservation {
    let index: Int
    let descriptor: CInt
  }

  private let content: Locked<Content>

  private init(_ set: OpaquePointer?) {
    unsafe content = Locked(Content(set: set))
  }

  /// None yet, for what ``Predecessor/takeOver(at:into:)`` receives in a process to which no service manager passes any.
  public convenience init() {
    unsafe self.init(csc_inherited_new())
  }

  deinit {
    content.withLock { unsafe csc_inherited_free($0.set) }
  }

  /// Takes over the sockets that the service manager has opened for this process, as sd_listen_fds(3) describes; none
  /// where it has opened none.
  ///
  /// Call it once, first in `main`, before there are other threads: it removes `LISTEN_PID`, `LISTEN_PIDFDID`,
  /// `LISTEN_FDS` and `LISTEN_FDNAMES` from the environment, so that no child takes the sockets for its own. They become
  /// close-on-exec.
  ///
  /// - Throws: what is wrong with the variables; the descriptors are as they were then.
  public static func fromEnvironment() throws(InheritedSocketsError) -> InheritedSockets {
    var error = CSC_INHERITED_ERROR_NONE
    let set = unsafe csc_inherited_from_environment(&error)
    guard unsafe set != nil else { throw InheritedSocketsError(error) }
    return unsafe InheritedSockets(set)
  }

  /// Adds a descriptor, which is the object's then.
  ///
  /// - Returns: false when it is not open; it is still the caller's.
  func add(_ descriptor: CInt, named name: String) -> Bool {
    content.withLock { unsafe csc_inherited_add($0.set, descriptor, name) }
  }

  /// The names of the descriptors that nothing has taken, in their order.
  public var names: [String] {
    content.withLock { content in
      content.all.filter { unsafe csc_inherited_descriptor(content.set, $0) >= 0 }.map(content.name)
    }
  }

  /// Takes the first descriptor of a name, which may be of any kind: a datagram socket, or the one connection of a socket
  /// unit with `Accept=yes`.
  ///
  /// - Returns: a descriptor that the caller closes; nil when there is none.
  public func takeDescriptor(named name: String) -> CInt? {
    content.withLock { content in
      guard let index = content.all.first(where: { content.isFree($0, named: name) }) else { return nil }
      return unsafe csc_inherited_take(content.set, index)
    }
  }

  /// Closes the descriptors that nothing has taken.
  ///
  /// One that a server is just taking over on another thread is closed only if the server does not listen on it.
  ///
  /// Clients of a socket that the service manager has, too, wait in its queue; others are refused.
  public func closeRest() {
    content.withLock { content in
      for index in content.all where !content.reserved.contains(index) {
        unsafe csc_inherited_close_one(content.set, index)
      }
      content.unwanted = content.reserved
    }
  }

  /// Receives those of a predecessor, and its values, which blocks.
  ///
  /// - Returns: an errno, or 0.
  func receive(from control: CInt, _ values: HandoverValuesInC) -> CInt {
    // Not in the lock, which is that of threads that do not wait.
    guard let received = unsafe csc_inherited_new() else { return ENOMEM }
    defer { unsafe csc_inherited_free(received) }
    let errnum = unsafe csc_handover_receive(control, received, values.content)
    guard errnum == 0 else { return errnum }
    let isAdded = unsafe (0..<csc_inherited_count(received)).allSatisfy { index in
      let name = unsafe String(cString: csc_inherited_name(received, index))
      guard unsafe add(csc_inherited_descriptor(received, index), named: name) else { return false }
      _ = unsafe csc_inherited_take(received, index)
      return true
    }
    return isAdded ? 0 : ENOMEM
  }

  // MARK: - For servers

  /// The first listening sockets of a name, `count` at most.
  func reserveListeners(named name: String, _ count: Int) -> [Reservation] {
    content.withLock { content in
      let found = content.all.filter {
        unsafe content.isFree($0, named: name) && csc_inherited_is_listener(content.set, $0)
      }
      content.reserved.formUnion(found.prefix(count))
      return found.prefix(count).map {
        unsafe Reservation(index: $0, descriptor: csc_inherited_descriptor(content.set, $0))
      }
    }
  }

  /// - Parameter areTaken: whether they are a server's now.
  func end(_ reservations: [Reservation], areTaken: Bool) {
    content.withLock { content in
      for reservation in reservations {
        content.reserved.remove(reservation.index)
        let isUnwanted = content.unwanted.remove(reservation.index) != nil
        if areTaken {
          _ = unsafe csc_inherited_take(content.set, reservation.index)
        } else if isUnwanted {
          unsafe csc_inherited_close_one(content.set, reservation.index)
        }
      }
    }
  }
}
