// SPDX-License-Identifier: Apache-2.0

/// Why a request is refused. The connection ends after the answer: where the next request begins is uncertain.
enum Refusal: Int, Error {
  case badRequest = 400
  case requestTimeout = 408
  case contentTooLarge = 413
  case targetTooLong = 414
  case expectationFailed = 417
  case headTooLarge = 431
  case notImplemented = 501
  case versionNotSupported = 505

  var reason: String {
    switch self {
    case .badRequest: "Bad Request"
    case .requestTimeout: "Request Timeout"
    case .contentTooLarge: "Content Too Large"
    case .targetTooLong: "URI Too Long"
    case .expectationFailed: "Expectation Failed"
    case .headTooLarge: "Request Header Fields Too Large"
    case .notImplemented: "Not Implemented"
    case .versionNotSupported: "HTTP Version Not Supported"
    }
  }
}
