"""What all requests of one worker share.

The door is `State`. `config` and `runtime` are swapped at a reload: a request takes them once and keeps what it took.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from prefroute.journal import Journal
from prefroute.serve.admission import Admission
from prefroute.serve.call import Presence
from prefroute.serve.config import GatewayConfig
from prefroute.serve.metrics import Metrics
from prefroute.serve.planner import Planner
from prefroute.serve.runtime import Runtime
from prefroute.serve.tracing import Trace
from prefroute.serve.upstream import Upstreams

__all__ = ["State"]


@dataclass(slots=True)
class State:
    """The parts that serve.

    Attributes:
        config: What is served, as it was written.
        runtime: The same, ready for use.
        journal: Where rows go.
        upstreams: Calls the models.
        planner: Chooses them.
        admission: Lets requests in.
        metrics: Counts them.
        log_request: Takes the values of a line of the log.
        trace: Makes spans; None where nobody wants them.
        reload_error: Why the last reload failed; None where it did not.
        is_draining: Whether the server is told to stop.
        n_in_flight: Requests that are being served.
        running: Those of them that can be stopped.
    """

    config: GatewayConfig
    runtime: Runtime
    journal: Journal
    upstreams: Upstreams
    planner: Planner
    admission: Admission
    metrics: Metrics
    log_request: Callable[[dict[str, Any]], None]
    trace: Trace | None = None
    reload_error: Callable[[], str | None] = field(default=lambda: None)
    is_draining: bool = False
    n_in_flight: int = 0
    running: set[Presence] = field(default_factory=set)
