// SPDX-License-Identifier: Apache-2.0

import Tracing

/// A tracer that has chosen not to record, as most do for most connections: what it costs is what any tracer costs.
final class UnsampledTracer: Tracer {
  private let span = Span()

  func startSpan<Instant: TracerInstant>(
    _ operationName: String,
    context: @autoclosure () -> ServiceContext,
    ofKind kind: SpanKind,
    at instant: @autoclosure () -> Instant,
    function: String,
    file fileID: String,
    line: UInt
  ) -> Span {
    _ = context()
    return span
  }

  func forceFlush() {}

  func extract<Carrier, Extract: Extractor>(
    _ carrier: Carrier,
    into context: inout ServiceContext,
    using extractor: Extract
  ) where Extract.Carrier == Carrier {}

  func inject<Carrier, Inject: Injector>(
    _ context: ServiceContext,
    into carrier: inout Carrier,
    using injector: Inject
  ) where Inject.Carrier == Carrier {}

  final class Span: Tracing.Span {
    let context = ServiceContext.topLevel
    let isRecording = false

    var operationName: String {
      get { "" }
      set {}
    }
    var attributes: SpanAttributes {
      get { SpanAttributes() }
      set {}
    }

    func setStatus(_ status: SpanStatus) {}
    func addEvent(_ event: SpanEvent) {}
    func addLink(_ link: SpanLink) {}

    func recordError<Instant: TracerInstant>(
      _ error: any Error,
      attributes: SpanAttributes,
      at instant: @autoclosure () -> Instant
    ) {}

    func end<Instant: TracerInstant>(at instant: @autoclosure () -> Instant) {}
  }
}
