// SPDX-License-Identifier: Apache-2.0

import TCPServerKitLogging
import TCPServerKitMetrics
import TCPServerKitService
import TCPServerKitTracing

/// Compiles only where each trait has reached the library.
public let products: [Any.Type] = [
  TCPService.self, ServerLog.self, ServerMetrics.self, ConnectionTracing.self,
]
