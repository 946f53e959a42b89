"""Scores of texts for requests that wait for them, without ever holding up the event loop.

The door is `Scorer`: its methods never raise, and answer within the route's deadline. A router whose call is short is
called on the loop, once for all requests that came in together; a long call, or one that does I/O, happens in a
thread. How long a call takes is predicted from a probe and corrected by what calls took. It must not choose a model.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from prefroute.routers import PoolRouter
from prefroute.serve.conversation import CONTEXT_CHARS, TEXT_CHARS
from prefroute.serve.runtime import Route
from prefroute.types import Embedder

__all__ = ["Score", "Scorer", "Trouble"]

_log = logging.getLogger(__name__)

Trouble = Literal["nothing_to_score", "scorer_error", "scorer_late"]
"""Why there is no score."""

_Row: TypeAlias = npt.NDArray[Any]  # what a call gives for one text: shape () or (m,)
_Call: TypeAlias = Callable[[Sequence[str]], npt.NDArray[Any]]

_ON_LOOP_S = 0.0025  # half of the 5 ms that the loop may be held: a batch that fails is scored a second time
_MOST_AT_ONCE = 64
_THREADS_LOCAL = 1  # a local router's library uses the cores by itself
_THREADS_REMOTE = 4
_STUCK_S = 1.0  # with every thread in a call for this long, new requests do not wait for one

_SHORT = "What is 2 + 2?"
_LONG = ("Prove that there are infinitely many primes, and say where each step comes from. " * 110)[:TEXT_CHARS]
_MIDDLE = _LONG[:CONTEXT_CHARS]  # where many routers stop reading
_PROBE_TEXTS = (_SHORT, _MIDDLE, _LONG)
_PROBES = 3
_NEWEST = 0.2  # weight of the newest measurement


class Score(NamedTuple):
    """What a router says of one text.

    Attributes:
        row: The win rate, shape (), or a value for each model or dimension, shape (m,); None where there is none.
        trouble: Why there is none.
        seconds: Until it was there, waiting included.
    """

    row: _Row | None
    trouble: Trouble | None
    seconds: float


class Scorer:
    """Scores for the requests of one event loop."""

    def __init__(self) -> None:
        self._lines: dict[tuple[int, str], _Line] = {}

    def prepare(self, routes: Iterable[Route]) -> None:
        """Measure how fast new routers are, and forget those that no route has; blocks for tens of milliseconds.

        Without it the first request of a router waits for the measurement.
        """
        lines: dict[tuple[int, str], _Line] = {}
        for route in routes:
            for owner, method in _methods(route):
                line = _Line.of(lines, owner, method, is_remote=route.is_remote)
                line.cost = known.cost if (known := self._lines.get(line.key)) else line.cost
                if not line.cost.is_known and not route.is_remote:
                    with contextlib.suppress(Exception):  # a router that fails is met again, and named, by a request
                        line.cost.probe(line.call)
        self._lines = lines

    async def win_rate(self, route: Route, text: str) -> Score:
        """P(strong preferred to weak), in [0, 1], shape ()."""
        return _checked(await self._ask(route, route.router, "win_rate", text))

    async def qualities(self, route: Route, text: str) -> Score:
        """Expected quality of each of `route.router.models`, in [0, 1], shape (m,); the router is a `PoolRouter`."""
        return _checked(await self._ask(route, route.router, "predict", text))

    async def novelty(self, route: Route, text: str) -> Score:
        """How unlike its training data the router finds the text, in [0, 1], shape (); of a `NoveltyRouter`."""
        return _checked(await self._ask(route, route.router, "novelty", text))

    async def embedding(self, route: Route, embedder: Embedder, text: str) -> Score:
        """The vector of a text, shape (d,)."""
        return await self._ask(route, embedder, "encode", text)

    async def _ask(self, route: Route, owner: object, method: str, text: str) -> Score:
        if not text:
            return Score(None, "nothing_to_score", 0.0)
        started = time.perf_counter()
        line = _Line.of(self._lines, owner, method, is_remote=route.is_remote)
        answer = await line.ask(text, route.deadline_s)
        seconds = time.perf_counter() - started
        return Score(None, answer, seconds) if isinstance(answer, str) else Score(answer, None, seconds)


def _methods(route: Route) -> Iterator[tuple[object, str]]:
    router = route.router
    yield router, "win_rate"
    if isinstance(router, PoolRouter):
        yield router, "predict"
    if (embedder := getattr(router, "embedder", None)) is not None:
        yield embedder, "encode"


def _checked(score: Score) -> Score:
    row = score.row
    if row is None or (0 <= row <= 1 if row.ndim == 0 else ((row >= 0) & (row <= 1)).all()):  # NaN is neither
        return score
    return Score(None, "scorer_error", score.seconds)


@dataclass(slots=True)
class _Waiter:
    text: str
    late_at: float
    answer: asyncio.Future[_Row | Trouble]
    has_timer: bool = False

    def set(self, answer: _Row | Trouble) -> None:
        if not self.answer.done():  # its request may have gone, or been told that the score is late
            self.answer.set_result(answer)


class _Cost:
    """Predicts what a call takes: two straight lines in characters, from a probe, times a factor that calls correct."""

    def __init__(self) -> None:
        self.is_known = False
        self._each_s = self._char_s = self._further_char_s = 0.0
        self._factor = 1.0

    def probe(self, call: _Call) -> None:
        call([_SHORT])  # what is loaded at the first call does not count
        short_s, middle_s, long_s = (_shortest(call, text) for text in _PROBE_TEXTS)
        self._char_s = max(middle_s - short_s, 0.0) / (len(_MIDDLE) - len(_SHORT))
        self._further_char_s = max(long_s - middle_s, 0.0) / (len(_LONG) - len(_MIDDLE))
        self._each_s = max(short_s - self._char_s * len(_SHORT), 1e-6)
        self.is_known = True

    def predict(self, text: str) -> float:
        """Seconds."""
        near = min(len(text), len(_MIDDLE))
        return self._factor * (self._each_s + self._char_s * near + self._further_char_s * (len(text) - near))

    def learn(self, predicted_s: float, seconds: float) -> None:
        # Calls that the operating system interrupts, many on a busy machine, must not look like a slow router, whose
        # batches would become small and dear: hence the bounds, and the middle of the ratios rather than their mean.
        ratio = min(max(seconds / predicted_s, 0.5), 2.0)
        self._factor = min(max(self._factor * ratio**_NEWEST, 0.5), 64.0)


def _shortest(call: _Call, text: str) -> float:
    """The shortest of several calls, seconds: the machine does other things too."""
    shortest_s = float("inf")
    for _ in range(_PROBES):
        started = time.perf_counter()
        call([text])
        shortest_s = min(shortest_s, time.perf_counter() - started)
        if shortest_s > 10 * _ON_LOOP_S:
            break  # slow in any case
    return shortest_s


class _Line:
    """The texts that wait for one method of one router."""

    def __init__(self, owner: object, method: str, *, is_remote: bool) -> None:
        self.key = (id(owner), method)  # `call` holds the owner, so that no other gets its id
        self.call: _Call = getattr(owner, method)
        self.cost = _Cost()
        self._is_remote = is_remote
        self._waiting: deque[_Waiter] = deque()
        self._is_due = False
        self._calls: dict[int, float] = {}  # running in threads: number -> started
        self._n_calls = 0
        self._is_failing = False

    @classmethod
    def of(cls, lines: dict[tuple[int, str], _Line], owner: object, method: str, *, is_remote: bool) -> _Line:
        line = lines.get((id(owner), method))
        if line is None:
            line = cls(owner, method, is_remote=is_remote)
            lines[line.key] = line
        return line

    def ask(self, text: str, deadline_s: float) -> asyncio.Future[_Row | Trouble]:
        loop = asyncio.get_running_loop()
        waiter = _Waiter(text, time.monotonic() + deadline_s, loop.create_future())
        if self._is_stuck():
            waiter.set("scorer_late")
        else:
            self._waiting.append(waiter)
            self._go_on(loop)
        return waiter.answer

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waiting and not self._is_due:
            self._is_due = True
            loop.call_soon(self._turn, loop)  # after the other requests of this round, which may have texts too

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_due = False
        now = time.monotonic()
        while self._waiting and (self._waiting[0].answer.done() or self._waiting[0].late_at < now):
            self._waiting.popleft().set("scorer_late")
        if not self._waiting:
            return
        if not self._is_remote and self.cost.is_known and self.cost.predict(self._waiting[0].text) <= _ON_LOOP_S:
            self._score_here()
            self._go_on(loop)
        else:
            self._score_in_thread(loop, now)

    def _score_here(self) -> None:
        batch: list[_Waiter] = []
        predicted_s = 0.0
        while self._waiting and len(batch) < _MOST_AT_ONCE:
            each_s = self.cost.predict(self._waiting[0].text)
            if batch and predicted_s + each_s > _ON_LOOP_S:
                break
            predicted_s += each_s
            batch.append(self._waiting.popleft())
        started = time.perf_counter()
        answers = self._answers([waiter.text for waiter in batch])
        self.cost.learn(predicted_s, time.perf_counter() - started)
        for waiter, answer in zip(batch, answers, strict=True):
            waiter.set(answer)

    def _score_in_thread(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        for waiter in reversed(self._waiting):
            if waiter.has_timer:
                break  # and so have those before it
            waiter.has_timer = True
            loop.call_later(max(waiter.late_at - now, 0.0), waiter.set, "scorer_late")
        if len(self._calls) >= (_THREADS_REMOTE if self._is_remote else _THREADS_LOCAL):
            return  # `_done` goes on
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_AT_ONCE))]
        self._n_calls += 1
        self._calls[self._n_calls] = now
        thread = threading.Thread(  # a daemon: a call that hangs must not keep the server from ending
            target=self._work, args=(loop, self._n_calls, batch), name="prefroute-scorer", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # the machine has no more threads
            self._done(loop, self._n_calls, batch, ["scorer_error"] * len(batch))
        self._go_on(loop)

    def _work(self, loop: asyncio.AbstractEventLoop, number: int, batch: list[_Waiter]) -> None:
        texts = [waiter.text for waiter in batch]
        if not self.cost.is_known and not self._is_remote:
            with contextlib.suppress(Exception):  # `_answers` says what is wrong
                self.cost.probe(self.call)
        predicted_s = sum(map(self.cost.predict, texts))
        started = time.thread_time()
        answers = self._answers(texts)
        if self.cost.is_known:
            self.cost.learn(predicted_s, time.thread_time() - started)
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
            loop.call_soon_threadsafe(self._done, loop, number, batch, answers)

    def _done(
        self, loop: asyncio.AbstractEventLoop, number: int, batch: list[_Waiter], answers: list[_Row | Trouble]
    ) -> None:
        del self._calls[number]
        for waiter, answer in zip(batch, answers, strict=True):
            waiter.set(answer)
        self._go_on(loop)

    def _is_stuck(self) -> bool:
        threads = _THREADS_REMOTE if self._is_remote else _THREADS_LOCAL
        return len(self._calls) >= threads and time.monotonic() - max(self._calls.values()) > _STUCK_S

    def _answers(self, texts: list[str]) -> list[_Row | Trouble]:
        """A row for each text; where a call fails, its texts are tried one by one, so that one cannot sink others."""
        try:
            rows = np.asarray(self.call(texts))
            if len(rows) != len(texts):
                raise ValueError(f"{len(texts)} texts got {len(rows)} rows")
        except Exception as exc:
            if len(texts) > 1 and not self._is_remote:
                return [answer for text in texts for answer in self._answers([text])]
            if not self._is_failing:  # once, not for each request; never the message, which may hold text
                _log.warning(
                    "A router cannot score: %s in %s. Requests go to their default model.", type(exc), self.key[1]
                )
            self._is_failing = True
            return ["scorer_error"] * len(texts)
        self._is_failing = False
        return list(rows)
