"""The gateway as an ASGI application: a table of paths, and what is common to all of them.

The door is `Gateway`. Every answer has an `x-request-id`, and every error OpenAI's shape. A path says who may ask
(`Access`); a path that is not in the table does not exist. Starting, stopping and sockets are the server's.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

import orjson

from prefroute.errors import JournalError
from prefroute.journal import UNRECORDED, FeedbackResult, FeedbackRow, Journal
from prefroute.serve.admission import Admission, may, may_ask, permission_denied
from prefroute.serve.call import Call, Interrupted, Receive, Scope, Send
from prefroute.serve.chat import CHAT, COMPLETIONS, DECISION, EMBEDDINGS, Kind, ModelCall, internal_error
from prefroute.serve.config import GatewayConfig
from prefroute.serve.faults import Fault, bad_request, not_found, overloaded
from prefroute.serve.metrics import CONTENT_TYPE, Metrics
from prefroute.serve.openapi import DOCUMENT
from prefroute.serve.planner import Planner
from prefroute.serve.runtime import Runtime
from prefroute.serve.state import State
from prefroute.serve.upstream import Upstreams
from prefroute.serve.wire import Body, check_feedback, read_json

__all__ = ["PATHS", "Access", "Gateway"]

_MIB = 1024 * 1024
_LEFT = 499


class Access(Enum):
    """Who may ask for a path."""

    ANYBODY = "anybody"
    KEY = "key"
    """Whoever has a key, where there are keys."""
    WORK = "work"
    """The same, counted against the key's rate and the server's limits."""


_Handler: TypeAlias = "Callable[[Gateway, Call], Awaitable[None]]"


@dataclass(frozen=True, slots=True)
class _Path:
    method: str
    access: Access
    name: str
    handle: _Handler


class Gateway:
    """Serves; also within a process (`prefroute.serve.client`).

    Args:
        config: What is served.
        runtime: The same, ready for use.
        journal: Open; whoever opened it closes it. Holds the keys.
        upstreams: Of the runtime's models.
        planner: Chooses a model.
        admission: None where only this process can ask.
        metrics: None for new ones.
        log_request: Takes the values of one line for each request.
    """

    def __init__(
        self,
        config: GatewayConfig,
        runtime: Runtime,
        journal: Journal,
        upstreams: Upstreams,
        planner: Planner,
        admission: Admission | None = None,
        metrics: Metrics | None = None,
        log_request: Callable[[dict[str, Any]], None] = lambda values: None,
    ) -> None:
        self.state = State(
            config=config,
            runtime=runtime,
            journal=journal,
            upstreams=upstreams,
            planner=planner,
            admission=Admission(journal) if admission is None else admission,
            metrics=Metrics() if metrics is None else metrics,
            log_request=log_request,
        )

    def swap(self, config: GatewayConfig, runtime: Runtime) -> None:
        """Serve something else from the next request on; if it raises, nothing has changed."""
        self.state.upstreams.replace(runtime.models)
        self.state.config, self.state.runtime = config, runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return
        call = Call(scope, receive, send)
        name = "unknown"
        try:
            path, name = _path(call)
            await self._serve(path, call)
        except Fault as fault:
            await call.refuse(fault)
        except Interrupted as interrupted:
            call.status, call.error = _LEFT, interrupted.code
        except Exception as exc:
            failure = internal_error(exc)
            if not call.status:
                await call.refuse(failure)
        self._note(call, name)

    async def _serve(self, path: _Path, call: Call) -> None:
        state = self.state
        if path.access is not Access.ANYBODY:
            state.admission.check_key(call)
        if path.access is not Access.WORK:
            await path.handle(self, call)
            return
        if state.is_draining:
            raise overloaded("shutting_down", "The server is stopping. Ask again.", closing=True)
        if state.n_in_flight >= state.config.server.max_in_flight:
            raise overloaded("overloaded", f"{state.n_in_flight} requests are being served already. Ask again.")
        state.admission.check_rate(call.key)
        if not state.journal.is_healthy and state.config.journal.on_failure == "refuse":
            raise overloaded(UNRECORDED, "Requests cannot be recorded now.", retry_after_s=5)
        state.n_in_flight += 1
        try:
            await path.handle(self, call)
        finally:
            state.n_in_flight -= 1

    def _note(self, call: Call, name: str) -> None:
        row = call.row
        if row is not None and row.status is not None:
            self.state.metrics.count(row)
        else:
            self.state.metrics.refused(name, call.status)
        if self.state.trace is not None:
            self.state.trace(call, name)
        self.state.log_request(
            {
                "level": "info",
                "message": "request",
                "request_id": call.request_id,
                "endpoint": name,
                "status": call.status,
                "error": call.error,
                "ms": round(1000 * (time.perf_counter() - call.started), 3),
                "key_id": call.key_id,
                "route": row and row.route,
                "model": row and row.model,
            }
        )

    async def _body(self, call: Call) -> Body:
        server = self.state.config.server
        return read_json(await call.body(max_bytes=int(server.max_body_mb * _MIB), timeout_s=server.body_s))

    async def _model_call(self, call: Call, kind: Kind) -> None:
        body = await self._body(call)
        kind.check(body)
        await ModelCall(self.state, call, kind, body).run()

    def chat(self, call: Call) -> Awaitable[None]:
        """POST /v1/chat/completions."""
        return self._model_call(call, CHAT)

    def completions(self, call: Call) -> Awaitable[None]:
        """POST /v1/completions."""
        return self._model_call(call, COMPLETIONS)

    def embeddings(self, call: Call) -> Awaitable[None]:
        """POST /v1/embeddings."""
        return self._model_call(call, EMBEDDINGS)

    async def route(self, call: Call) -> None:
        """POST /v1/route: what would answer a chat request, and why; no model is asked."""
        if not may(call.key, "explain"):
            raise permission_denied("This key may not see decisions. Ask for a key with `explain`.")
        await self._model_call(call, DECISION)

    async def feedback(self, call: Call) -> None:
        """POST /v1/feedback."""
        if not may(call.key, "feedback"):
            raise permission_denied("This key may not give feedback. Ask for a key with `feedback`.")
        body = await self._body(call)
        check_feedback(body)
        preferred = body.get("preferred")
        if preferred is not None and preferred not in self.state.runtime.models:
            raise bad_request("invalid_value", "`preferred` must be a model of this gateway.", "preferred")
        row = FeedbackRow(
            request_id=body["request_id"],
            key_id=call.key_id,
            given_at=call.started_at,
            score=body.get("score"),
            preferred=preferred,
        )
        try:
            result = await self.state.journal.add_feedback(row)
        except JournalError as exc:
            raise overloaded(UNRECORDED, "Feedback cannot be recorded now.", retry_after_s=5) from exc
        if result is not FeedbackResult.STORED:
            raise _feedback_fault(result)
        await call.answer(200, orjson.dumps({"object": "feedback", "request_id": row.request_id}))

    async def models(self, call: Call) -> None:
        """GET /v1/models."""
        await call.answer(200, orjson.dumps({"object": "list", "data": [_model(name) for name in self._names(call)]}))

    async def model(self, call: Call) -> None:
        """GET /v1/models/NAME."""
        name = call.path.removeprefix(_MODELS)
        if name not in self._names(call):
            raise not_found("model_not_found", "There is no such model for this key. See: GET /v1/models", "model")
        await call.answer(200, orjson.dumps(_model(name)))

    def _names(self, call: Call) -> list[str]:
        runtime = self.state.runtime
        return [name for name in (*runtime.routes, *runtime.models) if may_ask(call.key, name)]

    async def healthz(self, call: Call) -> None:
        """GET /healthz: the process answers."""
        await call.answer(200, b'{"status": "ok"}')

    async def readyz(self, call: Call) -> None:
        """GET /readyz: whether requests are taken."""
        state = self.state
        is_written = state.journal.is_healthy
        is_ready = not state.is_draining and (is_written or state.config.journal.on_failure == "serve")
        detail = {
            "status": "ready" if is_ready else "draining" if state.is_draining else "journal unavailable",
            "configuration": state.runtime.digest[:12],
            "journal": "ok" if is_written else "unavailable",
            "reload": "failed; the log says why" if state.reload_error() else "ok",
            "left_alone": sum(map(state.upstreams.is_open, state.runtime.models)),  # no names: anybody may ask
        }
        headers = [] if is_ready else [(b"retry-after", b"1")]
        await call.answer(200 if is_ready else 503, orjson.dumps(detail), headers)

    async def metrics(self, call: Call) -> None:
        """GET /metrics."""
        if not may(call.key, "metrics"):
            raise permission_denied("This key may not read the metrics. Make one with `metrics`.")
        self.measure()
        await call.answer(200, self.state.metrics.page(), content_type=CONTENT_TYPE)

    def measure(self) -> None:
        """Take down what stands now."""
        state, counts = self.state, self.state.journal.counts()
        state.metrics.stand(
            {
                "in_flight": state.n_in_flight,
                "journal_waiting": counts["waiting"],
                "journal_lost": counts["lost"] + counts["refused"],
                "reload_failed": state.reload_error() is not None,
            },
            {name: state.upstreams.is_open(name) for name in state.runtime.models},
        )

    async def openapi(self, call: Call) -> None:
        """GET /openapi.json."""
        await call.answer(200, DOCUMENT)


_MODELS = "/v1/models/"

PATHS: dict[str, _Path] = {
    "/v1/chat/completions": _Path("POST", Access.WORK, "chat", Gateway.chat),
    "/v1/completions": _Path("POST", Access.WORK, "completions", Gateway.completions),
    "/v1/embeddings": _Path("POST", Access.WORK, "embeddings", Gateway.embeddings),
    "/v1/route": _Path("POST", Access.WORK, "route", Gateway.route),
    "/v1/feedback": _Path("POST", Access.WORK, "feedback", Gateway.feedback),
    "/v1/models": _Path("GET", Access.KEY, "models", Gateway.models),
    _MODELS: _Path("GET", Access.KEY, "models", Gateway.model),  # and what follows it
    "/metrics": _Path("GET", Access.KEY, "metrics", Gateway.metrics),
    "/healthz": _Path("GET", Access.ANYBODY, "healthz", Gateway.healthz),
    "/readyz": _Path("GET", Access.ANYBODY, "readyz", Gateway.readyz),
    "/openapi.json": _Path("GET", Access.ANYBODY, "openapi", Gateway.openapi),
}


def _path(call: Call) -> tuple[_Path, str]:
    path = PATHS.get(_MODELS if call.path.startswith(_MODELS) else call.path)
    if path is None:
        raise not_found("unknown_url", "There is nothing at this path. The API begins with /v1/.")
    if call.method != path.method:
        message = f"This path takes {path.method} only."
        raise Fault(405, "method_not_allowed", message, headers={"allow": path.method})
    return path, path.name


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "prefroute"}


def _feedback_fault(result: FeedbackResult) -> Fault:
    if result is FeedbackResult.UNKNOWN:
        message = "This key has made no request with this id. It is in the `x-request-id` header of the answer."
        return not_found("request_not_found", message, "request_id")
    if result is FeedbackResult.TWICE:
        message = "This request has its feedback already. It counts once."
        return Fault(409, "feedback_exists", message, param="request_id", headers={"x-should-retry": "false"})
    message = "This request has no answer that could be judged."
    return Fault(409, "request_unfinished", message, param="request_id", headers={"x-should-retry": "false"})
