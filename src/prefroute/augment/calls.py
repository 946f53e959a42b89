"""One call after the other to the endpoints: paced, never over the budget, on disk before its answer is used.

What is guaranteed: a call whose answer has reached the disk is never sent again; an attempt is sent only when
everything spent, everything in flight at its most and the attempt itself at its most fit into the budget.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from prefroute.augment.ledger import Answer, Ledger
from prefroute.augment.plan import ChatModel
from prefroute.augment.wording import Messages
from prefroute.errors import UpstreamError, UpstreamProtocolError
from prefroute.http import Endpoint, Post

__all__ = ["BudgetReached", "Calls", "Pace", "Stopped"]

_MAX_TOKENS = 10**9  # a count above this is no count
_HELD_JITTER_S = 0.25  # spreads those who waited for the same moment


class Stopped(Exception):
    """No further call may be sent: the run is winding down."""


class BudgetReached(Stopped):
    """The next call could cost more than is left."""


class Pace:
    """When the next attempt may be sent to one endpoint.

    Args:
        per_minute: Attempts a minute, evenly spaced; None for no limit of ours.
        rng: Draws the jitter.
        sleep: Waits a number of seconds.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        per_minute: float | None,
        rng: np.random.Generator,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gap_s = 0.0 if per_minute is None else 60 / per_minute
        self._rng, self._sleep, self._clock = rng, sleep, clock
        self._free_at = self._held_until = clock()

    def hold(self, seconds: float) -> None:
        """Send nothing for so long: the endpoint asked one call to wait, and means all."""
        self._held_until = max(self._held_until, self._clock() + seconds)

    async def turn(self) -> None:
        """Wait until an attempt may be sent."""
        while True:
            now = self._clock()
            at = max(now, self._free_at)
            self._free_at = at + self._gap_s
            if at > now:
                await self._sleep(at - now)
            held_s = self._held_until - self._clock()
            if held_s <= 0:
                return
            await self._sleep(held_s + float(self._rng.uniform(0, _HELD_JITTER_S)))


class Calls:
    """Asks models, through a ledger and a budget.

    Args:
        ledger: Keeps the answers.
        posts: How each endpoint is reached.
        paces: How fast each endpoint may be asked.
        max_usd: What the ledger's folder may cost in all, US dollars; None for no bound.

    Attributes:
        n_sent: Finished calls that were sent, by kind.
        n_on_disk: Calls answered by the ledger, by kind.
        n_cut: Answers, sent or on disk, that stopped at the limit of tokens.
        tokens: Tokens of the calls that were sent, "in" and "out"; an endpoint that does not count adds none.
        is_stopping: Whether nothing more is sent.
    """

    def __init__(
        self, ledger: Ledger, posts: Mapping[Endpoint, Post], paces: Mapping[Endpoint, Pace], max_usd: float | None
    ) -> None:
        self.ledger = ledger
        self.n_sent: Counter[str] = Counter()
        self.n_on_disk: Counter[str] = Counter()
        self.n_cut: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self.is_stopping = False
        self._posts, self._paces, self._max_usd = posts, paces, max_usd
        self._n_in_flight = 0
        self._closed = asyncio.Event()

    async def ask(self, kind: str, model: ChatModel, messages: Messages) -> Answer:
        """The model's answer, from disk or from the endpoint.

        Raises:
            Stopped: If nothing more may be sent.
            UpstreamError: If the endpoint fails for good.
        """
        key = model.key(kind, messages)
        answer = self.ledger.get(key)
        if answer is not None:
            self.n_on_disk[kind] += 1
        else:
            answer = await self._send(key, kind, model, messages)
            self.n_sent[kind] += 1
            self.tokens["in"] += answer.tokens_in
            self.tokens["out"] += answer.tokens_out
        self.n_cut[kind] += answer.is_cut
        return answer

    def stop(self) -> None:
        """Send nothing more; what is in flight is still awaited and kept."""
        self.is_stopping = True
        self._closed.set()

    async def _send(self, key: str, kind: str, model: ChatModel, messages: Messages) -> Answer:
        usd_at_most = model.usd_at_most(messages)
        pace = self._paces[model.endpoint]
        reservation = 0

        @asynccontextmanager
        async def attempt() -> AsyncIterator[None]:
            nonlocal reservation
            await pace.turn()
            reservation = await self._reserve(key, usd_at_most)
            try:
                yield
            except UpstreamError as exc:
                self._fail(reservation, exc)
                if exc.retry_after_s is not None:
                    pace.hold(exc.retry_after_s)
                raise

        body = {"model": model.name, "messages": messages, **model.parameters}
        said = await self._posts[model.endpoint]("chat/completions", body, attempt)
        try:
            answer = _answer(said, model, usd_at_most)
        except UpstreamError as exc:
            self._fail(reservation, exc)
            raise
        self.ledger.finish(reservation, key, kind, model.name, answer)
        self._close()
        return answer

    async def _reserve(self, key: str, usd_at_most: float) -> int:
        """Take the most that an attempt can cost out of the budget; waits while calls in flight may give some back."""
        while not self.is_stopping:
            if self._max_usd is None or self.ledger.usd + usd_at_most <= self._max_usd:
                self._n_in_flight += 1
                return self.ledger.reserve(key, usd_at_most)
            if not self._n_in_flight:
                raise BudgetReached
            self._closed.clear()
            await self._closed.wait()
        raise Stopped

    def _fail(self, reservation: int, error: UpstreamError) -> None:
        if error.may_have_run:
            self.ledger.lose(reservation)
        else:
            self.ledger.release(reservation)
        self._close()

    def _close(self) -> None:
        self._n_in_flight -= 1
        self._closed.set()


def _answer(said: Mapping[str, Any], model: ChatModel, usd_at_most: float) -> Answer:
    """The text and the cost of a chat completion; without a usable `usage` it counts at its most."""
    choices = said.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    # null: the model refused, or thought until the limit
    text = (message.get("content") or "") if isinstance(message, dict) else None
    if not isinstance(choice, dict) or not isinstance(text, str):
        raise UpstreamProtocolError(
            f"{model.endpoint.host} answered without the text of a chat completion. Check the base URL and the model.",
            may_have_run=True,
        )
    is_cut = choice.get("finish_reason") == "length"
    usage = said.get("usage")
    counts = [usage.get(name) if isinstance(usage, dict) else None for name in ("prompt_tokens", "completion_tokens")]
    tokens_in, tokens_out = (count if type(count) is int and 0 <= count <= _MAX_TOKENS else None for count in counts)
    if tokens_in is None or tokens_out is None:
        return Answer(text, is_cut, 0, 0, usd_at_most)
    return Answer(text, is_cut, tokens_in, tokens_out, model.usd(tokens_in, tokens_out))
