// SPDX-License-Identifier: Apache-2.0

import Dispatch
import Glibc
import ServerProgram
import TCPServerKit
import TCPServerTLS

/// Reads a server's certificate again at SIGHUP. One that cannot be used leaves the one before.
struct Renewal {
  private let source: any DispatchSourceSignal

  init(of server: TCPServerGroup, _ settings: SSLConfiguration, _ certificate: String, _ key: String) {
    // By default it would end the program.
    signal(SIGHUP, SIG_IGN)
    source = DispatchSource.makeSignalSource(signal: SIGHUP)
    source.setEventHandler {
      Task {
        do {
          var renewed = settings
          renewed.identities = [try SSLIdentity(certificateFile: certificate, keyFile: key)]
          try await server.setSSLConfiguration(renewed)
          printLine("The certificate was read again.")
        } catch {
          printLine("The certificate stays: \(error)")
        }
      }
    }
    source.resume()
  }

  func stop() {
    source.cancel()
  }
}
