// SPDX-License-Identifier: Apache-2.0

import Foundation
import FoundationNetworking
import Synchronization

/// Fetches the content of an address, up to a length: the server does not decide how much is held.
final class HTTPFetch: NSObject, URLSessionDataDelegate {
  private struct State {
    var body: [UInt8] = []
    var failure: TrackerError?
    var whenEnded: (@Sendable (Result<[UInt8], TrackerError>) -> Void)?
  }

  private static let timeout: TimeInterval = 20

  private let mostBytes: Int
  private let state: Mutex<State>

  /// Calls back once, on a thread of its own.
  static func start(
    _ address: String,
    mostBytes: Int,
    whenEnded: @escaping @Sendable (Result<[UInt8], TrackerError>) -> Void
  ) {
    guard let url = URL(string: address) else {
      return whenEnded(.failure(TrackerError("this is no address")))
    }
    let configuration = URLSessionConfiguration.ephemeral
    configuration.timeoutIntervalForRequest = timeout
    configuration.timeoutIntervalForResource = timeout
    let fetch = HTTPFetch(mostBytes: mostBytes, whenEnded: whenEnded)
    let session = URLSession(configuration: configuration, delegate: fetch, delegateQueue: nil)
    session.dataTask(with: url).resume()
    session.finishTasksAndInvalidate()
  }

  private init(mostBytes: Int, whenEnded: @escaping @Sendable (Result<[UInt8], TrackerError>) -> Void) {
    self.mostBytes = mostBytes
    state = Mutex(State(whenEnded: whenEnded))
  }

  func urlSession(
    _ session: URLSession,
    dataTask: URLSessionDataTask,
    didReceive response: URLResponse,
    completionHandler: @escaping @Sendable (URLSession.ResponseDisposition) -> Void
  ) {
    if let status = (response as? HTTPURLResponse)?.statusCode, status != 200 {
      state.withLock { $0.failure = TrackerError("HTTP status \(status)") }
      completionHandler(.cancel)
    } else {
      completionHandler(.allow)
    }
  }

  func urlSession(_ session: URLSession, dataTask: URLSessionDataTask, didReceive data: Data) {
    let isTooLong = state.withLock { state in
      guard data.count <= mostBytes - state.body.count else {
        state.failure = TrackerError("the reply is longer than \(mostBytes) bytes")
        return true
      }
      state.body += data
      return false
    }
    if isTooLong {
      dataTask.cancel()
    }
  }

  func urlSession(_ session: URLSession, task: URLSessionTask, didCompleteWithError error: (any Error)?) {
    let (whenEnded, result) = state.withLock { state in
      let failure = state.failure ?? error.map { TrackerError(Self.text($0)) }
      let result: Result<[UInt8], TrackerError> = failure.map { .failure($0) } ?? .success(state.body)
      defer { state.whenEnded = nil }
      return (state.whenEnded, result)
    }
    whenEnded?(result)
  }

  private static func text(_ error: any Error) -> String {
    let text = (error as NSError).localizedDescription
    return printable(text)
  }
}
