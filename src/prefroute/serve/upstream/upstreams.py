"""Asks one model after the other until one answers.

The door is `Upstreams`. Before the first byte of content everything may be tried again elsewhere; after it nothing may.
"""

from __future__ import annotations

import asyncio
import ssl
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from prefroute.journal import AttemptRow
from prefroute.serve.runtime import Model
from prefroute.serve.upstream.answer import Answer, OnEnd, Stream
from prefroute.serve.upstream.exchange import Exchange, Target, origin_of
from prefroute.serve.upstream.failures import Failure, FailureCode, fault_of
from prefroute.serve.upstream.health import Health, RetryBudget
from prefroute.serve.upstream.pool import Origin, Pool
from prefroute.serve.upstream.reading import read_refusal, read_start, read_whole, says_too_long

__all__ = ["Upstreams"]

_PAUSE_S = 0.2
_MAX_PAUSE_S = 2.0


@dataclass(frozen=True, slots=True)
class _Request:
    path: str
    body: Mapping[str, Any]
    is_stream: bool
    attempts: list[AttemptRow]
    request_id: str | None


class Upstreams:
    """The models behind the gateway: connections, deadlines, circuit breakers, cool-downs and the retry budget.

    Used on one event loop.

    Args:
        models: By name.
    """

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._targets: dict[str, Target] = {}
        self._health: dict[str, Health] = {}
        self._pools: dict[Origin, Pool] = {}
        self._made: weakref.WeakSet[Pool] = weakref.WeakSet()  # with those retired: their connections hold them
        self._tls: ssl.SSLContext | None = None
        self._budget = RetryBudget()
        self.replace(models)

    def replace(self, models: Mapping[str, Model]) -> None:
        """Serve other models from now on. What did not change keeps its connections and its health.

        Models that are gone can still be asked by requests that were under way, so that a reload fails none.

        Args:
            models: By name.
        """
        origins = {name: origin_of(model) for name, model in models.items()}
        pools = {origin: self._pools.get(origin) or self._pool(origin) for origin in origins.values()}
        same = {name for name, model in models.items() if name in self._targets and self._targets[name].model == model}
        targets = {name: Target(model, pools[origins[name]]) for name, model in models.items()}
        self._targets |= targets  # from here on nothing can fail: a reload is whole or it is none
        self._health |= {name: Health() for name in models if name not in same}
        for origin in self._pools.keys() - pools.keys():
            self._pools[origin].retire()
        self._pools = pools

    async def close(self) -> None:
        """End every connection."""
        for pool in tuple(self._made):
            pool.close()

    def is_open(self, name: str) -> bool:
        """Whether a model's circuit is open, or it cools down: it would not be tried now."""
        return self._health[name].reason_to_wait(asyncio.get_running_loop().time()) is not None

    async def send(
        self,
        order: Sequence[str],
        path: str,
        body: Mapping[str, Any],
        *,
        is_stream: bool,
        attempts: list[AttemptRow],
        request_id: str | None = None,
    ) -> Answer:
        """The answer of the first model that gives one.

        Every model is asked once. If all fail and one of them may well answer when asked again (no connection, 5xx,
        a rate limit of 2 s or less), it is, once, as far as the budget for that goes. A request that is too long for
        one model is for the next that may have more room; if none takes it, the first refusal is the answer. If the
        call is cancelled, the connection in use ends at once.

        Args:
            order: Names of models, >= 1.
            path: "chat/completions", "completions" or "embeddings".
            body: The client's request; `model` is replaced for each model, all else travels unchanged.
            is_stream: Whether it asks for a stream.
            attempts: Gets a row for each attempt when it ends, that of a stream with the stream; "abandoned" where
                nobody wanted the rest. A model that was left alone has one too, "circuit_open" or "cooling_down".
            request_id: Sent along as `x-request-id`.

        Raises:
            Fault: If every model failed.
        """
        loop = asyncio.get_running_loop()
        self._budget.count(loop.time())
        request = _Request(path, body, is_stream, attempts, request_id)
        failures: dict[str, Failure] = {}
        refused: Answer | None = None
        for name in dict.fromkeys(order):
            if refused is not None and not self._may_have_more_room(name, refused.model):
                continue
            try:
                answer = await self._ask(name, request)
            except Failure as failure:
                failures[name] = failure.with_traceback(None)  # which leads to this frame, and so to itself
                continue
            if answer.status == 200 or answer.body is None or not says_too_long(answer.body):
                return answer
            refused = refused or answer
        if refused is not None:
            return refused
        again = next((name for name, failure in failures.items() if self._may_repeat(name, failure)), None)
        if again is not None and self._budget.spend(loop.time()):
            await asyncio.sleep(max(_PAUSE_S, self._health[again].wait_s(loop.time())))
            try:
                return await self._ask(again, request)
            except Failure as failure:
                failures[again] = failure.with_traceback(None)
        raise fault_of(list(failures.values()))

    def _may_have_more_room(self, name: str, refused_by: str) -> bool:
        room, too_little = (self._targets[each].model.context_tokens for each in (name, refused_by))
        return room is None or too_little is None or room > too_little

    def _may_repeat(self, name: str, failure: Failure) -> bool:
        wait_s = self._health[name].wait_s(asyncio.get_running_loop().time())
        return failure.may_pass and wait_s <= _MAX_PAUSE_S

    async def _ask(self, name: str, request: _Request) -> Answer:
        loop = asyncio.get_running_loop()
        started = loop.time()
        target, health = self._targets[name], self._health[name]
        if (reason := health.reason_to_wait(started)) is not None:
            raise _left_alone(name, reason, health.wait_s(started), request.attempts)
        attempt = health.began()
        exchange = Exchange(target, started, is_stream=request.is_stream)

        def on_end(outcome: str, failure: Failure | None) -> None:
            now = loop.time()
            request.attempts.append(AttemptRow(name, outcome, exchange.status, now - started))
            if failure is not None:
                health.failed(attempt, failure, now)

        try:
            answer = await _answer(exchange, target, request, on_end)
        except Failure as failure:
            exchange.close()
            on_end(failure.code, failure)
            raise
        except BaseException:  # cancelled: the client has left, or the server stops
            exchange.close()
            health.abandoned(attempt)
            on_end("abandoned", None)
            raise
        health.succeeded(attempt, loop.time())
        return answer

    def _pool(self, origin: Origin) -> Pool:
        if origin.is_tls and self._tls is None:
            self._tls = ssl.create_default_context()
        pool = Pool(origin, self._tls)
        self._made.add(pool)
        return pool


async def _answer(exchange: Exchange, target: Target, request: _Request, on_end: OnEnd) -> Answer:
    model = target.model
    content = orjson.dumps({**request.body, "model": model.upstream_name})
    sent = target.request(request.path, content, is_stream=request.is_stream, request_id=request.request_id)
    status = await exchange.ask(sent)
    if not 200 <= status < 300:
        refusal = await read_refusal(exchange, model)
        on_end("upstream_refused", None)
        return Answer(model.name, status, refusal)
    if request.is_stream:
        reader, first = await read_start(exchange, _n_choices(request.body))
        return Answer(model.name, 200, stream=Stream(exchange, reader, first, on_end))
    whole, usage = await read_whole(exchange, request.path)
    on_end("ok", None)
    return Answer(model.name, 200, whole, usage)


def _n_choices(body: Mapping[str, Any]) -> int:
    """How many choices a request asks for: `n`, for each prompt of the older API."""
    prompts = body.get("prompt")
    n_prompts = len(prompts) if isinstance(prompts, list) and prompts and not isinstance(prompts[0], int) else 1
    return int(body.get("n") or 1) * n_prompts


def _left_alone(name: str, reason: FailureCode, wait_s: float, attempts: list[AttemptRow]) -> Failure:
    is_limited = reason == "upstream_rate_limited"
    attempts.append(AttemptRow(name, "cooling_down" if is_limited else "circuit_open", None, 0.0))
    what = f"is left alone for now, since it failed ({reason})."
    return Failure(name, reason, what, may_pass=is_limited, retry_after_s=wait_s if is_limited else None)
