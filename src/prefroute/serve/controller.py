"""RouteLLM's `Controller` on this package's parts, for programs that were written for it.

The door is `Controller`: the same arguments, methods and `router-NAME-THRESHOLD` names, and answers that are read as
attributes (docs/how-to/come-from-routellm.md). It keeps no journal and checks no keys; a gateway does.

One event loop in a thread of its own serves all callers, whether they wait in a thread or on a loop: connections stay
open between calls, and several loops may use one controller.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections import Counter, deque
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, Self, TypeAlias, TypeVar

import orjson

from prefroute.checkpoint import open_checkpoint
from prefroute.errors import (
    ConfigError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
    nearest,
)
from prefroute.http import Endpoint
from prefroute.policy import Threshold, parse_router_name
from prefroute.serve.conversation import read_conversation
from prefroute.serve.faults import Fault
from prefroute.serve.loading import is_remote
from prefroute.serve.planner import Planner, Target
from prefroute.serve.runtime import CAPABILITIES, Model, Route, Runtime
from prefroute.serve.upstream import DONE, Answer, Upstreams
from prefroute.settings.environment import openai_endpoint
from prefroute.types import FloatArray

__all__ = ["Controller", "Json"]

_T = TypeVar("_T")
_Each: TypeAlias = str | Mapping[str, str] | None  # one for both models, or by model

_PATH = "chat/completions"
_OK = 200
_MOST_SAID = 300
_DEADLINE_S = 60.0  # a program waits for its score; a server could not


class Json(dict[str, Any]):
    """A JSON object whose members are attributes too.

    Example:
        >>> answer = Json({"choices": [{"message": {"content": "4"}}]})
        >>> answer.choices[0].message.content
        '4'
    """

    def __getattr__(self, name: str) -> Any:
        """The member of that name."""
        if name not in self:
            raise AttributeError(f"This object has no member {name!r}. It has: {', '.join(self) or 'none'}.")
        return _attributed(self[name])


def _attributed(value: Any) -> Any:
    if isinstance(value, dict):
        return Json(value)
    return [_attributed(item) for item in value] if isinstance(value, list) else value


class Controller:
    """Routes between two models with one of several routers.

    Args:
        routers: Names of routers.
        strong_model: What its endpoint calls the strong model.
        weak_model: What its endpoint calls the weak model.
        config: For each router `{"checkpoint_path": FOLDER}`; a name that is not here is a checkpoint's folder, or
            `default`, the router that ships in the package.
        api_base: Base URL of the models' endpoint, or one for each model by name; unsaid, as `OPENAI_BASE_URL` says.
        api_key: Key for it, or one for each model by name; unsaid, as `OPENAI_API_KEY` says where `api_base` is unsaid
            too.

    Attributes:
        model_counts: For each router, how often each model was chosen by `completion` and `acompletion`.
        chat: `chat.completions.create` is `completion`, and `acreate` is `acompletion`.

    Raises:
        CheckpointError: If a checkpoint cannot be opened.
        ConfigError: If a name or URL is not valid.
    """

    def __init__(
        self,
        routers: Sequence[str],
        strong_model: str,
        weak_model: str,
        config: Mapping[str, Mapping[str, str]] | None = None,
        api_base: _Each = None,
        api_key: _Each = None,
    ) -> None:
        if isinstance(routers, str) or not routers:
            raise ConfigError(f"`routers` must be a list of at least one name, got {routers!r}.")
        if strong_model == weak_model:
            raise ConfigError(f"`strong_model` and `weak_model` must be two models, got {strong_model!r} twice.")
        names = (strong_model, weak_model)
        folders = {name: (config or {}).get(name, {}).get("checkpoint_path", name) for name in routers}
        self._models = {name: _model(name, _of(api_base, name), _of(api_key, name)) for name in names}
        self._routes = {name: _route(name, folder, strong_model, weak_model) for name, folder in folders.items()}
        self.model_counts: dict[str, Counter[str]] = {name: Counter() for name in routers}
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=self.completion, acreate=self.acompletion))
        self._engine: _Engine | None = None
        self._starting = threading.Lock()

    def completion(self, *, router: str | None = None, threshold: float | None = None, **body: Any) -> Any:
        """A chat completion by the model that the router chooses.

        Args:
            router: Name of the router, where `model` does not say it.
            threshold: Strong iff its win rate is at least this, in [0, 1].
            **body: The request, as OpenAI's API takes it; `model` may be "router-NAME-THRESHOLD".

        Returns:
            The answer as `Json`; with `stream=True` an iterator of the chunks.

        Raises:
            ConfigError: If router and threshold are not both given, or not valid.
            UpstreamError: If no model answers.
        """
        engine = self._started()
        answer = engine.submit(self._ask(engine, *self._named(router, threshold, body), body)).result()
        return _Chunks(engine, answer) if answer.body is None else _attributed(orjson.loads(answer.body))

    async def acompletion(self, *, router: str | None = None, threshold: float | None = None, **body: Any) -> Any:
        """As `completion`, to be awaited; with `stream=True` it gives an asynchronous iterator."""
        engine = self._started()
        asked = engine.submit(self._ask(engine, *self._named(router, threshold, body), body))
        answer = await asyncio.wrap_future(asked)
        return _AsyncChunks(engine, answer) if answer.body is None else _attributed(orjson.loads(answer.body))

    def route(self, prompt: str, router: str, threshold: float) -> str:
        """The model that a prompt goes to; none is called."""
        win_rate = self.batch_calculate_win_rate([prompt], router)
        is_strong = bool(Threshold(threshold).choose(win_rate)[0])
        return self._routes[router].strong if is_strong else self._routes[router].weak

    def batch_calculate_win_rate(self, prompts: Sequence[str], router: str) -> FloatArray:
        """P(strong preferred to weak | prompt) of each prompt, in [0, 1], shape (n,)."""
        self._check_router(router)
        return self._routes[router].router.win_rate(list(prompts))

    def close(self) -> None:
        """End every connection and the thread. The next call starts anew; the program's end closes it too."""
        with self._starting:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def __enter__(self) -> Self:
        """The controller."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _started(self) -> _Engine:
        with self._starting:
            if self._engine is None:
                self._engine = _Engine(self._models, self._routes)
            return self._engine

    def _named(self, router: str | None, threshold: float | None, body: Mapping[str, Any]) -> tuple[str, Threshold]:
        """Router and threshold of a call."""
        if (model := body.get("model")) is not None:
            named = parse_router_name(model) if isinstance(model, str) else None
            if named is None:
                raise ConfigError(f"`model` must be like 'router-{next(iter(self._routes))}-0.5', got {model!r}.")
            self._check_router(named[0])
            return named
        if router is None or threshold is None:
            raise ConfigError("Say which router and threshold: `model='router-NAME-THRESHOLD'`, or both arguments.")
        self._check_router(router)
        return router, Threshold(threshold)

    def _check_router(self, name: str) -> None:
        if name not in self._routes:
            raise ConfigError(nearest(name, self._routes, "router"))

    async def _ask(self, engine: _Engine, name: str, policy: Threshold, body: Mapping[str, Any]) -> Answer:
        there = Runtime(self._models, self._routes, digest="")
        target = Target(name, self._routes[name], policy)
        try:
            plan = await engine.planner.plan(there, target, read_conversation(body))
            self.model_counts[name][plan.chosen] += 1  # on one thread: the engine's
            is_stream = bool(body.get("stream"))
            answer = await engine.upstreams.send(plan.order, _PATH, body, is_stream=is_stream, attempts=[])
        except Fault as fault:
            raise _error(fault) from fault
        if answer.status != _OK:
            said = (answer.body or b"").decode("utf-8", "replace")[:_MOST_SAID]
            raise UpstreamRefused(f"Model {answer.model!r} refused the request: {said}", status=answer.status)
        return answer


class _Engine:
    """An event loop in a thread, with what has to stay on one loop."""

    def __init__(self, models: Mapping[str, Model], routes: Mapping[str, Route]) -> None:
        self.planner = Planner()
        self.planner.prepare(Runtime(models, routes, digest=""))
        self.upstreams = Upstreams(models)
        started: Future[asyncio.AbstractEventLoop] = Future()
        self._end = asyncio.Event()
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._live(started),), name="prefroute-controller", daemon=True
        )
        self._thread.start()
        self._loop = started.result()

    async def _live(self, started: Future[asyncio.AbstractEventLoop]) -> None:
        started.set_result(asyncio.get_running_loop())
        await self._end.wait()
        await self.upstreams.close()

    def submit(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def let_go(self, answer: Answer) -> None:
        """Close an answer without waiting: also where the interpreter finalises what held it."""
        with contextlib.suppress(RuntimeError):  # the loop has ended, and every connection with it
            self._loop.call_soon_threadsafe(lambda: self._loop.create_task(answer.aclose()))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()


class _Streamed:
    """A streamed answer. Its connection ends with it: when it is closed, or when nobody holds it any more.

    A generator would do for the first only: one that was never begun has no `finally` to run.
    """

    def __init__(self, engine: _Engine, answer: Answer) -> None:
        self._engine = engine
        self._events = answer.events()
        self._read: deque[Json] = deque()
        self._let_go = weakref.finalize(self, engine.let_go, answer)
        self._let_go.atexit = False  # then the loop's thread has ended, and every connection with it

    def _more(self) -> Future[list[Json]]:
        return self._engine.submit(_next(self._events))

    def _end(self) -> None:
        self._read.clear()
        self._let_go()


class _Chunks(_Streamed, Iterator[Json]):
    def __next__(self) -> Json:
        if not self._read and self._let_go.alive:
            try:
                self._read.extend(self._more().result())
            finally:
                if not self._read:
                    self._end()
        if not self._read:
            raise StopIteration
        return self._read.popleft()

    def close(self) -> None:
        """No more is wanted."""
        self._end()


class _AsyncChunks(_Streamed, AsyncIterator[Json]):
    async def __anext__(self) -> Json:
        if not self._read and self._let_go.alive:
            try:
                chunks = await asyncio.wrap_future(self._more())
                self._read.extend(chunks)
            finally:
                if not self._read:
                    self._end()
        if not self._read:
            raise StopAsyncIteration
        return self._read.popleft()

    async def aclose(self) -> None:
        """No more is wanted."""
        self._end()


async def _next(events: AsyncIterator[bytes]) -> list[Json]:
    """The chunks of the next piece that holds any; empty at the end."""
    try:
        async for piece in events:
            if piece is DONE:
                break
            if found := [Json(orjson.loads(data)) for data in _data(piece)]:
                return found
    except Fault as fault:
        raise _error(fault) from fault
    return []


def _data(piece: bytes) -> Iterator[bytes]:
    """The data of each event in a piece of whole events; comments and other fields have none."""
    lines: list[bytes] = []
    for line in (*piece.splitlines(), b""):
        if line.startswith(b"data:"):
            lines.append(line[5:])
        elif not line and lines:
            yield b"\n".join(lines)
            lines = []


def _error(fault: Fault) -> ConfigError | UpstreamError:
    """What a program catches in place of an HTTP status."""
    if fault.code == "upstream_timeout":
        return UpstreamTimeout(fault.message, status=fault.status)
    if fault.code in ("upstream_invalid_response", "upstream_stream_error"):
        return UpstreamProtocolError(fault.message)
    if fault.code.startswith("upstream_"):
        return UpstreamUnavailable(fault.message, status=fault.status)
    return ConfigError(fault.message)


def _of(given: _Each, model: str) -> str | None:
    return given if given is None or isinstance(given, str) else given.get(model)


def _model(name: str, base_url: str | None, api_key: str | None) -> Model:
    if base_url is None:
        base_url, known_key = openai_endpoint()
        api_key = api_key or known_key
    endpoint = Endpoint(base_url, api_key)
    headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
    # Nothing is known of the models: like RouteLLM, leave it to them what they take.
    return Model(name, name, endpoint.base_url.rstrip("/"), headers, capabilities=frozenset(CAPABILITIES))


def _route(name: str, folder: str, strong: str, weak: str) -> Route:
    checkpoint = open_checkpoint(folder)
    return Route(
        name=name,
        router=checkpoint.router,
        fingerprint=checkpoint.fingerprint,
        candidates=(strong, weak),
        strong=strong,
        weak=weak,
        policy=Threshold(0.5),  # each call brings its own
        fallbacks=(strong, weak),
        default=strong,
        deadline_s=_DEADLINE_S,
        is_remote=is_remote(checkpoint.router),
    )
