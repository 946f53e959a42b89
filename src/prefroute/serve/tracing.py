"""A span of OpenTelemetry for each request, where the extra is installed and an exporter is configured.

The door is `open_tracing`. A span is made when its request is over, from what the journal's row holds; it never holds
text, and a client's `traceparent` puts it below the client's own. Importing this module loads nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from prefroute.errors import MissingExtraError
from prefroute.serve.call import Call
from prefroute.settings.environment import variable

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["Trace", "open_tracing", "spans_to"]

Trace: TypeAlias = Callable[[Call, str], None]
"""Takes a call that is over, and the name of its endpoint."""

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_OF_ROW = ("route", "model", "chosen", "reason", "win_rate", "tokens_in", "tokens_out", "cost_usd", "scoring_s")


@contextmanager
def open_tracing() -> Iterator[Trace | None]:
    """What makes spans while the context lasts; None where no OTLP endpoint is configured.

    Raises:
        MissingExtraError: If one is configured and the extra is not installed.
    """
    if not any(map(variable, _ENDPOINTS)):
        yield None
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as exc:
        raise MissingExtraError(f"{_ENDPOINTS[0]} is set, and tracing", "otel") from exc
    with spans_to(OTLPSpanExporter()) as trace:
        yield trace


@contextmanager
def spans_to(exporter: SpanExporter) -> Iterator[Trace]:
    """What makes spans for an exporter, which gets them in batches, in a thread.

    Args:
        exporter: Shut down at the end.
    """
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import SpanKind, Status, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    provider = TracerProvider(resource=Resource.create({"service.name": "prefroute"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("prefroute")
    propagator = TraceContextTextMapPropagator()

    def trace(call: Call, endpoint: str) -> None:
        above = propagator.extract({"traceparent": call.header(b"traceparent").decode("latin-1")})
        began = int(call.started_at * 1e9)
        span = tracer.start_span(f"prefroute {endpoint}", above, SpanKind.SERVER, start_time=began)
        span.set_attribute("http.response.status_code", call.status)
        span.set_attribute("prefroute.request_id", call.request_id)
        for name in _OF_ROW:
            value = getattr(call.row, name, None)
            if value is not None:
                span.set_attribute(f"prefroute.{name}", value)
        if call.error is not None:
            span.set_status(Status(StatusCode.ERROR, call.error))
        # a duration, so that a clock that was set meanwhile makes no span end before it began
        span.end(began + int((time.perf_counter() - call.started) * 1e9))

    try:
        yield trace
    finally:
        provider.shutdown()
