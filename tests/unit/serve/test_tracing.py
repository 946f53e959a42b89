"""Spans say what a request did, below the client's own."""

from __future__ import annotations

import pytest

from prefroute.journal import RequestRow
from prefroute.serve.call import Call
from prefroute.serve.tracing import open_tracing, spans_to

trace_sdk = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")


def test_a_span_holds_the_decision_and_its_parent_and_no_text():
    parent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    exporter = trace_sdk.InMemorySpanExporter()
    call = Call({"method": "POST", "path": "/", "headers": [(b"traceparent", parent)]}, None, None)  # type: ignore[arg-type]
    call.row = RequestRow(call.request_id, 0.0, "chat", route="auto", model="small", win_rate=0.25, prompt="secret")
    call.status, call.error = 502, "upstream_timeout"

    with spans_to(exporter) as trace:
        trace(call, "chat")

    (span,) = exporter.get_finished_spans()
    assert span.name == "prefroute chat"
    assert format(span.context.trace_id, "032x") == "0af7651916cd43dd8448eb211c80319c"
    assert span.attributes["prefroute.win_rate"] == 0.25
    assert span.attributes["http.response.status_code"] == 502
    assert span.status.description == "upstream_timeout"
    assert 0 <= span.end_time - span.start_time < 60e9
    assert "secret" not in span.to_json()


def test_without_an_endpoint_there_are_no_spans(monkeypatch):
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", raising=False)

    with open_tracing() as trace:
        assert trace is None
