"""A request that a model answers: planned, sent, its answer handed on, and its row committed before the last byte.

The door is `ModelCall.run`. The order of things is the point here: the row is begun before a model is asked, and
finished before the answer's last byte (or a stream's `[DONE]`) leaves. It must not know how a model is chosen or asked.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from prefroute.errors import JournalError
from prefroute.journal import UNRECORDED, RequestRow
from prefroute.prompts import prompt_hash
from prefroute.serve.admission import may, may_ask, permission_denied
from prefroute.serve.call import Call, Interrupted, Presence, encoded
from prefroute.serve.conversation import Conversation, read_conversation
from prefroute.serve.faults import Fault, bad_request, overloaded
from prefroute.serve.logs import stack
from prefroute.serve.planner import Plan, resolve
from prefroute.serve.state import State
from prefroute.serve.upstream import DONE, Answer
from prefroute.serve.wire import Body, check_chat, check_completions, check_embeddings

__all__ = ["CHAT", "COMPLETIONS", "DECISION", "EMBEDDINGS", "Kind", "ModelCall", "internal_error"]

_log = logging.getLogger(__name__)

_EVENT_STREAM = b"text/event-stream; charset=utf-8"
_STREAM_HEADERS = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]  # else proxies hold events back
_CLIENT_LEFT = 499
_MOST_NAME_CHARS = 200  # as long as names in the configuration may be


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the endpoints where models answer.

    Attributes:
        name: In the journal.
        path: Below a model's base URL.
        check: Refuses bodies that are wrong.
        has_routes: Whether a route may be named, and not only a model.
        has_streams: Whether an answer may be streamed.
    """

    name: str
    path: str
    check: Callable[[Body], None]
    has_routes: bool = True
    has_streams: bool = True


CHAT = Kind("chat", "chat/completions", check_chat)
COMPLETIONS = Kind("completions", "completions", check_completions)
EMBEDDINGS = Kind("embeddings", "embeddings", check_embeddings, has_routes=False, has_streams=False)
DECISION = Kind("route", "", check_chat, has_streams=False)
"""Planned like a chat, and then told instead of sent."""


def internal_error(exc: Exception) -> Fault:
    """What a client hears of a bug; the log hears where it is."""
    _log.error("A request failed by a bug: %s", " < ".join(reversed(stack(exc))))
    return Fault(500, "internal_error", "The gateway failed. Its log says where.", type_="server_error")


class ModelCall:
    """Serves one request.

    Args:
        state: What all requests share.
        call: The request, its key known.
        kind: Its endpoint.
        body: Of the right shape.
    """

    def __init__(self, state: State, call: Call, kind: Kind, body: Body) -> None:
        self._state = state
        self._runtime = state.runtime
        self._call = call
        self._kind = kind
        self._body = body
        requested = body["model"][:_MOST_NAME_CHARS]
        self._row = call.row = RequestRow(call.request_id, call.started_at, kind.name, call.key_id, requested)
        self._row.is_stream = kind.has_streams and bool(body.get("stream"))
        self._plan: Plan | None = None
        self._novelty: float | None = None
        self._answer: Answer | None = None
        self._conversation = Conversation()

    async def run(self) -> None:
        """From the intent to the last byte; every failure becomes an answer."""
        call, state = self._call, self._state
        state.journal.begin(self._row)
        try:
            with Presence(call, state.running):
                await self._until_last_byte()
            await self._finish(call.status or self._status)
            await self._last_byte()
        except Fault as fault:
            await self._fail(fault)
        except Interrupted as interrupted:
            await self._interrupted(interrupted.code)
        except Exception as exc:
            await self._fail(internal_error(exc))
        finally:
            if self._answer is not None:
                await self._answer.aclose()

    @property
    def _status(self) -> int:
        return 200 if self._answer is None else self._answer.status

    async def _until_last_byte(self) -> None:
        plan = await self._planned()
        if self._kind is DECISION:
            self._novelty = await self._state.planner.novelty(self._runtime, plan, self._row.prompt or "")
            return
        answer = self._answer = await self._state.upstreams.send(
            plan.order,
            self._kind.path,
            self._body,
            is_stream=self._row.is_stream,
            attempts=self._row.attempts,
            request_id=self._call.request_id,
        )
        self._row.model = answer.model
        if answer.model != plan.chosen:
            self._row.reason = "fallback"
        if answer.status == 200:
            self._state.planner.remember(plan, answer.model)
        if answer.body is not None:
            return
        async for piece in answer.events():
            if piece is DONE:  # the last one; it waits for the row
                continue
            if not self._call.status:
                self._row.first_token_s = time.perf_counter() - self._call.started
                headers = [*self._headers(), *_STREAM_HEADERS]
                await self._call.begin(200, headers, content_type=_EVENT_STREAM)
            await self._call.send(piece)

    async def _planned(self) -> Plan:
        state, call, requested = self._state, self._call, self._body["model"]
        may_choose = may(call.key, "choose_threshold")
        target = resolve(self._runtime, requested, may_choose_threshold=may_choose, may_ask=partial(may_ask, call.key))
        if target.route is not None:  # now, so that the report counts what is refused below with its route
            self._row.route = target.route.name
        if not may_ask(call.key, target.name):
            raise permission_denied(f"This key may not ask for {target.name!r}. See: GET /v1/models", "model")
        if target.route is not None and not self._kind.has_routes:
            raise bad_request("invalid_value", "Embeddings come from one model: name it, not a route.", "model")
        conversation = self._conversation = read_conversation(self._body)
        plan = await state.planner.plan(self._runtime, target, conversation, key_id=call.key_id)
        self._plan = plan
        self._note_plan(plan, conversation)
        if state.config.journal.store_embeddings and conversation.text:
            embedded = await state.planner.embedding(self._runtime, plan, conversation.text)
            self._row.embedding, self._row.embedder = embedded or (None, None)
        return plan

    def _note_plan(self, plan: Plan, conversation: Conversation) -> None:
        row, text = self._row, conversation.text
        row.route, row.router, row.chosen, row.model = plan.route, plan.router, plan.chosen, plan.chosen
        row.win_rate, row.scores, row.threshold = plan.win_rate, plan.scores, plan.threshold
        row.propensity, row.reason, row.scoring_s = plan.propensity, plan.reason, plan.scoring_s
        if text:
            row.prompt, row.prompt_hash, row.n_chars = text, prompt_hash(text), len(text)

    async def _last_byte(self) -> None:
        call, answer = self._call, self._answer
        if answer is None:
            assert self._plan is not None
            await call.answer(200, orjson.dumps(_told(self._plan, self._novelty)), self._headers())
        elif answer.body is None:
            if not call.status:  # a stream of nothing but its end
                await call.begin(200, [*self._headers(), *_STREAM_HEADERS], content_type=_EVENT_STREAM)
            await call.send(DONE, is_last=True)
        else:
            await call.answer(answer.status, answer.body, self._headers())

    def _headers(self) -> list[tuple[bytes, bytes]]:
        """Who answered, or was chosen; for keys that may know it, why."""
        row = self._row
        named = {b"x-prefroute-model": row.model, b"x-prefroute-route": row.route}
        if may(self._call.key, "explain"):
            named[b"x-prefroute-win-rate"] = None if row.win_rate is None else f"{row.win_rate:.6f}"
            named[b"x-prefroute-reason"] = row.reason
            named[b"x-prefroute-chosen"] = None if row.chosen == row.model else row.chosen
        return encoded(named)

    async def _finish(self, status: int, error: str | None = None) -> None:
        """Complete the row and wait until it is committed."""
        row, answer = self._row, self._answer
        row.status, row.error = status, error
        row.latency_s = time.perf_counter() - self._call.started
        if answer is not None and error is not None:
            await answer.aclose()  # which also writes down how the attempt ended
        if answer is not None and answer.status == 200:
            conversation = self._conversation
            usage = answer.usage.with_prompt(conversation.tokens_in, conversation.text_tokens)
            row.tokens_in, row.tokens_out, row.tokens_cached = usage.tokens_in, usage.tokens_out, usage.tokens_cached
            row.usage_source = usage.source
            price = self._runtime.models[answer.model].price
            if price is not None and row.tokens_in is not None:
                row.cost_usd = price.request_usd(row.tokens_in, row.tokens_out, row.tokens_cached or 0)
        elif answer is not None and error is None:
            row.error = self._call.error = "upstream_refused"
        try:
            await self._state.journal.finish(row)
        except JournalError as exc:
            if error is None and self._state.config.journal.on_failure == "refuse":
                fault = _unrecorded(is_paid=answer is not None and answer.status == 200)
                self._state.journal.refuse(row, self._call.status or fault.status)
                raise fault from exc

    async def _fail(self, fault: Fault) -> None:
        """Tell the client: as an answer of its own, or within the stream that has begun, which then has no `[DONE]`."""
        call = self._call
        if self._row.status is None:
            await self._finish(call.status or fault.status, fault.code)
        if call.status:
            call.error = fault.code
            await call.send(fault.event(), is_last=True)
        else:
            await call.refuse(fault, self._headers())

    async def _interrupted(self, code: str) -> None:
        if code == "shutting_down":
            await self._fail(overloaded(code, "The server is stopping. Ask again.", closing=True))
            return
        await self._finish(_CLIENT_LEFT, code)
        self._call.status, self._call.error = _CLIENT_LEFT, code


def _unrecorded(*, is_paid: bool) -> Fault:
    if not is_paid:
        return overloaded(UNRECORDED, "The request cannot be recorded now, and so is not answered.", retry_after_s=5)
    # a client that repeats it by itself has every repeat paid for, and gets none of the answers
    message = "A model answered, but that cannot be recorded now, and so the answer is not given. Ask again later."
    return Fault(503, UNRECORDED, message, type_="server_error", headers={"x-should-retry": "false"})


def _told(plan: Plan, novelty: float | None) -> dict[str, Any]:
    return {
        "object": "route.decision",
        "route": plan.route,
        "model": plan.chosen,
        "fallbacks": plan.order[1:],
        "reason": plan.reason,
        "win_rate": plan.win_rate,
        "novelty": novelty,
        "scores": plan.scores,
        "threshold": plan.threshold,
        "propensity": plan.propensity,
        "router": plan.router,
        "scoring_ms": None if plan.scoring_s is None else round(1000 * plan.scoring_s, 3),
    }
