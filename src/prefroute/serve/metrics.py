"""What Prometheus reads at `/metrics`.

The door is `Metrics`. Labels hold names of the configuration and words of this package only, so that no client can
make series without end. With several workers the values are kept in files that all of them share (`share_metrics`),
and every worker answers for all. Importing this module loads prometheus_client.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from prefroute.journal.rows import RequestRow

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_SCORING_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5)


class Metrics:
    """Counts what is served.

    Args:
        shared: Folder of the values of all workers; None where there is one worker.
    """

    def __init__(self, shared: str | None = None) -> None:
        own = CollectorRegistry()
        self._shared = shared
        self._registry = own

        def counter(name: str, text: str, *labels: str) -> Callable[..., Counter]:
            # looking a series up costs more than adding to it, hence the cache; there are few
            return functools.cache(Counter(f"prefroute_{name}", text, labels, registry=own).labels)

        def histogram(name: str, text: str, buckets: Sequence[float], label: str) -> Callable[..., Histogram]:
            made = Histogram(f"prefroute_{name}_seconds", text, [label], registry=own, buckets=buckets)
            return functools.cache(made.labels)

        self._requests = counter("requests", "Requests answered.", "endpoint", "route", "model", "status")
        self._decisions = counter("decisions", "Why a model was chosen.", "route", "reason")
        self._attempts = counter("attempts", "Tries at upstreams.", "model", "outcome")
        self._tokens = counter("tokens", "Tokens read and written.", "model", "direction")
        self._cached = counter("cached_tokens", "Of the tokens read, those from the upstream's prompt cache.", "model")
        self._cost = counter("cost_usd", "Cost at the configured prices.", "model")
        self._estimated = counter("estimated_requests", "Requests whose tokens are our estimate.", "model")
        self._estimated_cost = counter("estimated_cost_usd", "Of the cost, what rests on estimates.", "model")
        self._latency = histogram("request", "First byte in to last byte out.", _LATENCY_S, "endpoint")
        self._first = histogram("first_token", "First byte in to first content out.", _LATENCY_S, "endpoint")
        self._scoring = histogram("scoring", "Wait for a score.", _SCORING_S, "route")
        self._gauges = {
            name: Gauge(f"prefroute_{name}", text, registry=own, multiprocess_mode="livesum")
            for name, text in {
                "in_flight": "Requests that are being served.",
                "journal_waiting": "Rows that wait to be written.",
                "journal_lost": "Rows that could not be written.",
                "reload_failed": "Workers whose last reload failed.",
            }.items()
        }
        self._open = Gauge(
            "prefroute_upstream_open",
            "Workers that leave a model alone after failures.",
            ["model"],
            registry=own,
            multiprocess_mode="livesum",
        )
        self._models: set[str] = set()  # all that this gauge ever had: files of several workers cannot lose one

    def count(self, row: RequestRow) -> None:
        """Count a request that is over.

        Args:
            row: As it went to the journal.
        """
        route, model = row.route or "", row.model or ""
        self._requests(row.endpoint, route, model, str(row.status)).inc()
        if row.reason is not None:
            self._decisions(route, row.reason).inc()
        for attempt in row.attempts:
            self._attempts(attempt.model, attempt.outcome).inc()
        self._count_usage(row, model)
        if row.latency_s is not None:
            self._latency(row.endpoint).observe(row.latency_s)
        if row.first_token_s is not None:
            self._first(row.endpoint).observe(row.first_token_s)
        if row.scoring_s is not None:
            self._scoring(route).observe(row.scoring_s)

    def _count_usage(self, row: RequestRow, model: str) -> None:
        if row.tokens_in:
            self._tokens(model, "in").inc(row.tokens_in)
        if row.tokens_out:
            self._tokens(model, "out").inc(row.tokens_out)
        if row.tokens_cached:
            self._cached(model).inc(row.tokens_cached)
        if row.cost_usd:
            self._cost(model).inc(row.cost_usd)
        if row.usage_source == "estimate":
            self._estimated(model).inc()
            self._estimated_cost(model).inc(row.cost_usd or 0)

    def refused(self, endpoint: str, status: int) -> None:
        """Count a request that was refused before it was anybody's.

        Args:
            endpoint: A word of this package, never what the client wrote.
            status: HTTP status.
        """
        self._requests(endpoint, "", "", str(status)).inc()

    def stand(self, gauges: Mapping[str, float], is_open: Mapping[str, bool]) -> None:
        """Take down what stands now in this worker.

        Args:
            gauges: Values of `in_flight`, `journal_waiting`, `journal_lost` and `reload_failed`.
            is_open: Whether each model of now is left alone.
        """
        for name, value in gauges.items():
            self._gauges[name].set(value)
        self._models |= is_open.keys()
        for model in self._models:  # one that a reload took away is left alone no more
            self._open.labels(model).set(is_open.get(model, False))

    def page(self) -> bytes:
        """The text that Prometheus reads, of all workers."""
        if self._shared is None:
            return generate_latest(self._registry)
        everybody = CollectorRegistry()
        MultiProcessCollector(everybody, path=self._shared)  # type: ignore[no-untyped-call]  # untyped there
        return generate_latest(everybody)
