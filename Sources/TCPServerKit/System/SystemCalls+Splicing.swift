// SPDX-License-Identifier: Apache-2.0

internal import CLibevent
internal import Glibc

/// Moving bytes between descriptors through a pipe, without copying them to the process.
extension SystemCalls {
  /// Both ends are close-on-exec and non-blocking; nil where there is none to be had that holds `least` bytes.
  ///
  /// - Parameter wanted: how many bytes it should hold; the kernel may allow fewer.
  static func openPipe(holding wanted: Int, atLeast least: Int) -> (input: CInt, output: CInt, size: Int)? {
    var ends: [CInt] = [-1, -1]
    guard unsafe clibevent_open_pipe(&ends, O_CLOEXEC | O_NONBLOCK) == 0 else { return nil }
    let (output, input) = (aboveStandard(ends[0]), aboveStandard(ends[1]))
    _ = fcntl(input, CInt(CLIBEVENT_SET_PIPE_SIZE), CInt(clamping: wanted))
    let size = Int(fcntl(input, CInt(CLIBEVENT_GET_PIPE_SIZE)))
    guard output >= 0, input >= 0, size >= least else {
      for end in [output, input] where end >= 0 { close(end) }
      return nil
    }
    return (input, output, size)
  }

  private static var spliceFlags: UInt32 {
    UInt32(CLIBEVENT_SPLICE_MOVE | CLIBEVENT_SPLICE_NONBLOCK)
  }

  /// Moves what a connection has received into a pipe, of which `input` is the end to write to.
  static func splice(from connection: CInt, intoPipe input: CInt, atMost count: Int) -> Outcome {
    Outcome(clibevent_splice(connection, nil, input, nil, UInt(count), spliceFlags))
  }

  /// Sends what is in a pipe, of which `output` is the end to read from.
  ///
  /// The call has no `MSG_NOSIGNAL`, so SIGPIPE is blocked meanwhile, and taken where the call has raised it. It may have,
  /// wherever it has not sent all: it returns what it has sent before the connection broke.
  static func splice(fromPipe output: CInt, to connection: CInt, atMost count: Int) -> Outcome {
    var signals = sigset_t()
    var before = sigset_t()
    unsafe sigemptyset(&signals)
    unsafe sigaddset(&signals, SIGPIPE)
    unsafe pthread_sigmask(SIG_BLOCK, &signals, &before)
    // One that was there before is the program's, which waits for it: otherwise this thread would have taken it.
    let wasPending = unsafe sigismember(&before, SIGPIPE) == 1 && isPending(SIGPIPE)
    let outcome = Outcome(
      clibevent_splice(output, nil, connection, nil, UInt(count), spliceFlags)
    )
    if !wasPending, mayHaveBroken(outcome, of: count) {
      var now = timespec()
      unsafe _ = sigtimedwait(&signals, nil, &now)
    }
    unsafe pthread_sigmask(SIG_SETMASK, &before, nil)
    return outcome
  }

  private static func mayHaveBroken(_ outcome: Outcome, of count: Int) -> Bool {
    switch outcome {
    case .value(let sent): sent < count
    case .failed(let errnum): errnum == EPIPE
    }
  }

  private static func isPending(_ signal: CInt) -> Bool {
    var pending = sigset_t()
    return unsafe sigpending(&pending) == 0 && sigismember(&pending, signal) == 1
  }
}
