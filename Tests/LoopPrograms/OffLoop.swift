// SPDX-License-Identifier: Apache-2.0

import Dispatch
import Glibc
import TCPServerKit

// What every public member does on another thread than its event base's: the table is in OffLoopMembers.swift. Each
// member is called in a process of its own, while a thread runs the loop.

/// What a member does there. Executors.md lists the same classes.
enum ThreadClass: String {
  /// Goes to the loop and comes back.
  case hops
  /// Returns while the loop is busy; the loop carries it out afterwards.
  case posts
  /// Returns while the loop is busy, with its answer.
  case anywhere
  /// Stops the program with a text that names the call.
  case traps
}

/// A public member, called off the loop.
struct Member: Sendable {
  enum Call: Sendable {
    case sync(@Sendable (Scene) throws -> Void)
    case async(@Sendable (Scene) async throws -> Void)
  }

  /// As in the symbol graph, with " =" where it sets a property.
  let name: String
  let threadClass: ThreadClass
  /// What makes this one of several entries for the same symbol; empty for a symbol's only one.
  var variant = ""
  /// What is done on the loop before the call.
  var prepare: (@Sendable (Scene) -> Void)?
  let call: Call
  /// Whether what was posted has been carried out. Asked on the loop, until it says so.
  var isDone: (@Sendable (Scene) -> Bool)?
  /// The beginning of the text that it stops the program with, where that does not name the member.
  var text: String?
}

/// A loop that another thread runs, with one of everything that has members.
@safe final class Scene: @unchecked Sendable {
  let base: EventBase
  let server: TCPServer
  /// Accepted; its peer has sent two lines and ended its side.
  let socket: TCPSocket
  /// Neither connected nor connecting.
  let fresh: TCPSocket
  let peer = TCPSocket(eventBase: nil)
  let incoming: IncomingConnection
  let permit: ConnectionPermit
  let signal: Signal<Int>
  let plainSignal: Signal<Void>
  let connection: SignalConnection
  let timer: EventTimer
  let shutdown = GracefulShutdown()
  let port: UInt16
  private let peerDescriptor: CInt
  private var further: [TCPSocket] = []

  init() throws {
    base = try EventBase()
    server = TCPServer(eventBase: base)
    guard server.listen(address: .localHost) else { throw server.serverError }
    port = server.serverPort
    peer.connectToHost(.localHost, port: port)
    guard peer.waitForConnected(), server.waitForNewConnection(msec: 10_000),
      let socket = server.nextPendingConnection()
    else { throw server.serverError }
    peer.write("one\ntwo\n")
    peer.finishWriting()
    peerDescriptor = peer.socketDescriptor
    self.socket = socket
    fresh = TCPSocket(eventBase: base)
    signal = Signal(eventBase: base)
    plainSignal = Signal(eventBase: base)
    connection = signal.connect { _ in }
    timer = EventTimer(interval: .seconds(1000), eventBase: base)
    // What a task accepts comes without the thread that runs the loop.
    let other = try EventBase()
    let port = port
    (incoming, permit) = try other.run {
      let server = TCPServer()
      guard server.listen(address: .localHost) else { throw server.serverError }
      let clients = [TCPSocket(), TCPSocket()]
      for client in clients { client.connectToHost(.localHost, port: server.serverPort) }
      var iterator = server.incomingConnections.makeAsyncIterator()
      guard let first = try await iterator.next(), let second = try await iterator.next(),
        let permit = second.takePermit(), port > 0
      else { throw server.serverError }
      return (first, permit)
    }
    // One that is pending.
    knock()
    guard server.waitForNewConnection(msec: 10_000) else { throw server.serverError }
  }

  /// Connects to the server once more.
  func knock() {
    let client = TCPSocket(eventBase: nil)
    client.connectToHost(.localHost, port: port)
    further.append(client)
  }

  /// Whether the peer has received something.
  var hasArrived: Bool {
    var byte: UInt8 = 0
    return unsafe recv(peerDescriptor, &byte, 1, CInt(MSG_DONTWAIT) | CInt(MSG_PEEK)) == 1
  }

  /// Runs the loop on a thread of its own, for good.
  func run() {
    let begun = DispatchSemaphore(value: 0)
    base.execute { begun.signal() }
    Thread.start { [base] in base.run() }
    begun.wait()
  }

  /// Runs `body` on the loop, and waits for it.
  func onLoop<Result: Sendable>(_ body: @escaping @Sendable (Scene) -> Result) -> Result {
    let answer = Answer<Result>()
    base.execute { answer.give(body(self)) }
    return answer.wait()
  }
}

/// A value that one thread waits for.
private final class Answer<Value: Sendable>: @unchecked Sendable {
  private let given = DispatchSemaphore(value: 0)
  private var value: Value?

  func give(_ value: Value) {
    self.value = value
    given.signal()
  }

  func wait() -> Value {
    given.wait()
    guard let value else { fatalError("nothing was given") }
    return value
  }
}

enum Thread {
  private final class Body: Sendable {
    let run: @Sendable () -> Void

    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
  }

  static func start(_ body: @escaping @Sendable () -> Void) {
    var thread = pthread_t()
    let context = unsafe Unmanaged.passRetained(Body(body)).toOpaque()
    let failure = unsafe pthread_create(
      &thread,
      nil,
      { context in
        if let context = unsafe context as UnsafeMutableRawPointer? {
          unsafe Unmanaged<Body>.fromOpaque(context).takeRetainedValue().run()
        }
        return nil
      },
      context
    )
    precondition(failure == 0, "no thread")
  }
}

// MARK: - Calling them

extension Member {
  /// Calls it off the loop, in this process.
  ///
  /// - Returns: what went wrong.
  func check() throws -> String? {
    let scene = try Scene()
    scene.run()
    if let prepare { scene.onLoop(prepare) }
    switch call {
    case .async(let body):
      if let problem = Self.awaitElsewhere(body, scene) { return problem }
    case .sync(let body):
      // A loop that is busy carries nothing out: the call does not wait for it.
      let (isBusy, goOn) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
      scene.base.execute {
        isBusy.signal()
        goOn.wait()
      }
      isBusy.wait()
      try body(scene)
      goOn.signal()
    }
    guard let isDone else { return nil }
    while !scene.onLoop(isDone) { usleep(1000) }
    return nil
  }

  private static func awaitElsewhere(
    _ body: @escaping @Sendable (Scene) async throws -> Void,
    _ scene: Scene
  ) -> String? {
    let answer = Answer<String?>()
    Task.detached {
      do {
        try await body(scene)
        answer.give(EventBase.current === scene.base ? "did not come back from the loop" : nil)
      } catch {
        answer.give("threw \(error)")
      }
    }
    return answer.wait()
  }
}

/// Whether a child of this process, which calls `member`, does what the table says.
private func outcome(of member: Member) -> String? {
  var ends: [CInt] = [-1, -1]
  guard unsafe pipe(&ends) == 0 else { return "no pipe" }
  let child = forkedChild()
  if child == 0 {
    alarm(60)
    // No backtrace: it takes longer than all else.
    for number in [SIGILL, SIGTRAP] { _ = signal(number, SIG_DFL) }
    dup2(ends[1], STDERR_FILENO)
    do {
      if let problem = try member.check() { report(problem) }
    } catch {
      report("threw \(error)")
    }
    _exit(0)
  }
  close(ends[1])
  defer { close(ends[0]) }
  let text = wholeOutput(ends[0])
  var status: CInt = 0
  unsafe waitpid(child, &status, 0)
  let signal = status & 0x7f
  guard signal != SIGALRM else { return "did not end" }
  if member.threadClass == .traps {
    let name = member.name.hasSuffix(" =") ? String(member.name.dropLast(2)) : member.name
    let wanted =
      member.text ?? "\(name) was called on another thread than its EventBase's, as by a plain Task"
    guard signal != 0 else { return "did not stop the program" }
    return text.contains(wanted) ? nil : "stopped the program with another text: \(text)"
  }
  guard status == 0 else { return "ended by \(status): \(text)" }
  return text.isEmpty ? nil : text
}

private func report(_ problem: String) {
  unsafe _ = write(STDERR_FILENO, problem, problem.utf8.count)
}

private func wholeOutput(_ descriptor: CInt) -> String {
  var output: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 4096)
  while true {
    let count = unsafe read(descriptor, &buffer, buffer.count)
    guard count > 0 else { break }
    output += buffer[..<count]
  }
  return String(decoding: output, as: UTF8.self)
}

@_silgen_name("fork") private func forkedChild() -> pid_t

/// Calls each member, and says which does not do what its class says.
func offLoop() throws {
  // Without the backtraces that a child then leaves out, the runtime prints one of its own, which takes as long.
  if unsafe getenv("SWIFT_BACKTRACE").map({ unsafe String(cString: $0) }) != "enable=yes" {
    unsafe setenv("SWIFT_BACKTRACE", "enable=yes", 1)
    // The thread sanitizer would wait for a second at the end of each child.
    unsafe setenv("TSAN_OPTIONS", "atexit_sleep_ms=0", 0)
    unsafe _ = execv("/proc/self/exe", CommandLine.unsafeArgv)
  }
  let wanted = CommandLine.arguments.dropFirst(2)
  // All of them, one part of several as in 0/4, or those of these names.
  let part = wanted.first?.split(separator: "/").compactMap { Int($0) } ?? []
  for (index, member) in members.enumerated() {
    let isWanted =
      part.count == 2 ? index % part[1] == part[0] : wanted.isEmpty || wanted.contains(member.name)
    guard isWanted else { continue }
    guard let problem = outcome(of: member) else { continue }
    say(
      "\(member.threadClass.rawValue) \(member.name)\(member.variant): \(problem.split(separator: "\n").first ?? "")"
    )
  }
  say("called \(members.count > 200 ? "all" : "too few")")
}

/// The table, for scripts/check-thread-classes.
func offLoopMembers() {
  for member in members where member.variant.isEmpty {
    say("\(member.threadClass.rawValue) \(member.name)")
  }
}
