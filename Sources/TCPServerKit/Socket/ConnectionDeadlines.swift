// SPDX-License-Identifier: Apache-2.0

/// When the loop looks at a connection next, and what it found last: 12 bytes.
struct ConnectionDeadline {
  /// What the peer had to do at the last look, which is judged at the next.
  enum Owed: UInt32 {
    case nothing
    case taking
    case sending
  }

  /// The time of the next look in 28 bits, and 4 for what follows.
  private var dueAndFlags: UInt32
  /// When its age is over, or its grace; 0 for never.
  var end: UInt32
  /// How many bytes had moved at the last look, or while something is owed how many are to have moved at the next. A
  /// connection that moves 4 GiB within a window may look slow, by a chance of one in a million. While the first byte is
  /// awaited, when it has to have come.
  var mark: UInt32

  private static let owedBits: UInt32 = 3
  private static let firstByteBit: UInt32 = 4
  private static let quietBit: UInt32 = 8
  private static let flagBits: UInt32 = 15

  init(end: UInt32, firstByteBy: UInt32?) {
    dueAndFlags = firstByteBy == nil ? 0 : Self.firstByteBit
    self.end = end
    mark = firstByteBy ?? 0
  }

  var owed: Owed {
    get { Owed(rawValue: dueAndFlags & Self.owedBits) ?? .nothing }
    set { dueAndFlags = dueAndFlags & ~Self.owedBits | newValue.rawValue }
  }

  /// No byte of the peer had come.
  var awaitsFirstByte: Bool {
    get { dueAndFlags & Self.firstByteBit != 0 }
    set { set(Self.firstByteBit, newValue) }
  }

  /// Nothing had arrived for the idle time, but bytes waited for the peer: it ends when it has taken none by the next look.
  var isQuiet: Bool {
    get { dueAndFlags & Self.quietBit != 0 }
    set { set(Self.quietBit, newValue) }
  }

  private mutating func set(_ bit: UInt32, _ value: Bool) {
    dueAndFlags = value ? dueAndFlags | bit : dueAndFlags & ~bit
  }

  /// The distance of the next look, 0 or less when it is due.
  @inline(__always) func distance(from now: UInt32) -> Int32 {
    Int32(bitPattern: (dueAndFlags & ~Self.flagBits) &- (now << 4)) >> 4
  }

  /// At most two months, by which the number would wrap.
  mutating func setDue(in ticks: UInt32, from now: UInt32) {
    let due = now &+ min(ticks, 1 << 25)
    dueAndFlags = due << 4 | dueAndFlags & Self.flagBits
  }
}

/// The connections of one loop whose servers have a ``ConnectionPolicy``: 24 bytes for each, and one timer for all, which
/// is set where any of them has a limit to come.
///
/// Used on the loop's thread alone.
@safe final class ConnectionDeadlines {
  private unowned let engine: EventEngine
  private var sockets: PagedArray<Unmanaged<TCPSocket>> = unsafe PagedArray()
  private var deadlines: PagedArray<ConnectionDeadline> = PagedArray()
  /// The place of a descriptor in both, one more than the index; 0 for none.
  private var places: PagedArray<UInt32> = PagedArray()
  private var timer: LoopTimer?
  /// When that fires.
  private var wakeUp: UInt32?
  private var period = ConnectionRules.longestPeriod
  private var random: UInt64
  /// How much of the list is still to be looked at, in the turns after this one.
  private var unswept: Int?
  /// The next look that any connection needs that was looked at.
  private var nextDue: Int32 = .max

  /// How many connections are looked at in one turn of the loop, at about a microsecond each.
  private static let batch = 256

  init(_ engine: EventEngine) {
    self.engine = engine
    random = .random(in: 0 ... .max)
  }

  var isEmpty: Bool {
    deadlines.count == 0
  }

  func begin(_ socket: TCPSocket, _ rules: ConnectionRules) {
    let descriptor = Int(socket.descriptor)
    guard descriptor >= 0, index(of: socket) == nil else { return }
    let now = Ticks.now
    var first = Ticks.most
    var end: UInt32 = 0
    if let age = rules.maximumAge {
      let earlier = rules.ageSpread > 0 ? UInt32(nextRandom() % UInt64(rules.ageSpread + 1)) : 0
      first = max(age - earlier, 1)
      end = max(Ticks.after(first, from: now), 1)
    }
    var firstByteBy: UInt32?
    if let firstLook = rules.firstLook, !socket.isUnix {
      first = min(first, firstLook)
      if let firstByte = rules.firstByte { firstByteBy = Ticks.after(firstByte, from: now) }
    } else if end == 0 {
      return
    }
    var deadline = ConnectionDeadline(end: end, firstByteBy: firstByteBy)
    deadline.setDue(in: first &+ 1, from: now)
    unsafe sockets.append(.passUnretained(socket))
    deadlines.append(deadline)
    while places.count <= descriptor { places.append(0) }
    places[descriptor] = UInt32(deadlines.count)
    period = min(period, rules.period)
    wake(in: deadline.distance(from: now), now)
  }

  /// From SplitMix64: what is random here is no secret.
  private func nextRandom() -> UInt64 {
    random &+= 0x9e37_79b9_7f4a_7c15
    var value = random
    value = (value ^ value >> 30) &* 0xbf58_476d_1ce4_e5b9
    value = (value ^ value >> 27) &* 0x94d0_49bb_1331_11eb
    return value ^ value >> 31
  }

  private func index(of socket: TCPSocket) -> Int? {
    unsafe index(socket.descriptor, Unmanaged.passUnretained(socket).toOpaque())
  }

  private func index(_ descriptor: CInt, _ address: UnsafeMutableRawPointer) -> Int? {
    guard descriptor >= 0, Int(descriptor) < places.count else { return nil }
    let index = Int(places[Int(descriptor)]) - 1
    guard index >= 0, unsafe sockets[index].toOpaque() == address else { return nil }
    return index
  }

  /// The connection at this address gives its descriptor away or closes it.
  func forget(_ descriptor: CInt, _ address: UnsafeMutableRawPointer) {
    guard let index = unsafe index(descriptor, address) else { return }
    places[Int(descriptor)] = 0
    let last = deadlines.count - 1
    // Until all is written: this may be its last reference, and its end comes here, too.
    let moved = unsafe index < last ? TCPSocket.alive(sockets[last].toOpaque()) : nil
    if index < last {
      unsafe sockets[index] = sockets[last]
      deadlines[index] = deadlines[last]
      if let place = place(of: moved, formerly: last) { places[place] = UInt32(index + 1) }
    }
    unsafe sockets.removeLast()
    deadlines.removeLast()
    if last == 0 { period = ConnectionRules.longestPeriod }
    withExtendedLifetime(moved) {}
  }

  /// Where ``places`` has a socket that was moved in the list: at its descriptor, which one whose last reference is being
  /// released on another thread does not say any more.
  private func place(of moved: TCPSocket?, formerly last: Int) -> Int? {
    if let moved { return Int(moved.descriptor) }
    return (0..<places.count).first { places[$0] == UInt32(last + 1) }
  }

  /// The policy of these connections is another one, or none: the loop looks at them soon, and judges nothing by the old
  /// one.
  func reconsider(_ context: SocketContext) {
    let now = Ticks.now
    for index in stride(from: deadlines.count - 1, through: 0, by: -1) {
      guard let socket = unsafe TCPSocket.alive(sockets[index].toOpaque()), socket.context === context
      else { continue }
      if context.connectionRules == nil {
        unsafe forget(socket.descriptor, Unmanaged.passUnretained(socket).toOpaque())
      } else {
        deadlines[index].owed = .nothing
        deadlines[index].isQuiet = false
        deadlines[index].setDue(in: 0, from: now)
      }
    }
    if let rules = context.connectionRules { period = min(period, rules.period) }
    if !isEmpty { wake(in: 0, now) }
  }

  // MARK: - Looking

  /// Has the loop look in so many ticks, unless it does so before.
  private func wake(in ticks: Int32, _ now: UInt32) {
    let time = now &+ UInt32(max(ticks, 1))
    if let wakeUp, Int32(bitPattern: wakeUp &- time) <= 0 { return }
    wakeUp = time
    // A little later, because the loop's clock may be a little ahead.
    let delay = Duration.nanoseconds(Int64(max(ticks, 1)) * Ticks.nanoseconds) + Ticks.kernelStep
    timer = LoopTimer(engine, after: delay) { [weak self] in self?.sweep() }
  }

  private func sweep() {
    wakeUp = nil
    timer = nil
    // One that goes on sees the rest.
    guard unswept == nil else {
      nextDue = 0
      return
    }
    nextDue = .max
    unswept = deadlines.count
    sweepOn()
  }

  /// From the end on: one that goes is replaced by the last, which was looked at before.
  private func sweepOn() {
    let now = Ticks.now
    var due: [TCPSocket] = []
    var index = min(unswept ?? 0, deadlines.count)
    while index > 0, due.count < Self.batch {
      index -= 1
      let distance = deadlines[index].distance(from: now)
      if distance > 0 {
        nextDue = min(nextDue, distance)
      } else if let socket = unsafe TCPSocket.alive(sockets[index].toOpaque()) {
        due.append(socket)
      }
    }
    unswept = index
    for socket in due { look(at: socket, now) }
    if index > 0 {
      engine.afterTurn { [weak self] in self?.sweepOn() }
    } else {
      unswept = nil
      if !isEmpty { wake(in: max(nextDue, Int32(period)), now) }
    }
  }

  private func look(at socket: TCPSocket, _ now: UInt32) {
    guard let index = index(of: socket) else { return }
    guard let rules = socket.context.connectionRules else {
      return unsafe forget(socket.descriptor, Unmanaged.passUnretained(socket).toOpaque())
    }
    var deadline = deadlines[index]
    let finding = socket.look(at: &deadline, by: rules, now)
    deadlines[index] = deadline
    nextDue = min(nextDue, deadline.distance(from: now))
    // The program may do anything now.
    switch finding {
    case .nothing:
      if socket.isBeyondMaximumAge { socket.endIfBetweenMessages() }
    case .maximumAge:
      rules.ends.countMaximumAge()
      socket.reachMaximumAge()
    case .over(let reason):
      rules.ends.countEnd(reason)
      socket.cut(for: reason)
    }
  }
}
