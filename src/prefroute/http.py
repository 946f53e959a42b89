"""One small client for OpenAI-compatible endpoints: an async core, and a sync face over it.

The doors: `OpenAIClient(Endpoint(...)).post_all(path, bodies)`, and `connected()` for one request after the other. It
knows JSON over POST, retries and errors, and must not know what the bodies mean. Keys never appear in a message, a log
or a `repr`.
"""

from __future__ import annotations

import asyncio
import email.utils
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlsplit

import numpy as np

from prefroute.errors import (
    ConfigError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Around", "Endpoint", "OpenAIClient", "Post", "retry_after_s", "run_blocking"]

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")
_Json = dict[str, Any]
Around = Callable[[], AbstractAsyncContextManager[None]]

_MAX_ANSWER_BYTES = 64 * 1024 * 1024
_MAX_RETRY_AFTER_S = 60.0  # where somebody waits for the answer
_FIRST_WAIT_S = 0.5
_MAX_WAIT_S = 8.0
_RETRIED_4XX = frozenset({408, 429})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an OpenAI-compatible API answers, and how patient to be with it.

    Attributes:
        base_url: Up to and including `/v1`; no user, query or fragment.
        api_key: Sent as a bearer token; None sends none. Never shown.
        timeout_s: Seconds for one attempt, from connecting to the last byte, > 0.
        n_retries: Further attempts after the first fails with 408, 429, 5xx, a timeout or no connection, >= 0.
        n_parallel: Requests in flight at once, >= 1.

    Raises:
        ConfigError: If a value is out of range, the URL is not http(s), or the key is empty or holds white space.
    """

    base_url: str
    api_key: str | None = field(default=None, repr=False)
    timeout_s: float = 60.0
    n_retries: int = 4
    n_parallel: int = 8

    def __post_init__(self) -> None:
        """Check once; see Raises."""
        try:
            parts = urlsplit(self.base_url)
            bad_port = parts.port == 0
        except ValueError as exc:  # an open IPv6 bracket, a port that is no number
            raise ConfigError("`base_url` is not a URL. Write it like https://api.openai.com/v1.") from exc
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ConfigError("`base_url` must hold no user, password, query or fragment. Give the key as `api_key`.")
        if parts.scheme not in ("http", "https") or not parts.hostname or bad_port:
            raise ConfigError(
                f"`base_url` must start with http:// or https:// and name a host, got {self.base_url!r}. "
                "Write it like https://api.openai.com/v1."
            )
        key = self.api_key
        if key is not None and (not key or not key.isascii() or not key.isprintable() or " " in key):
            raise ConfigError("`api_key` must be non-empty ASCII without spaces or line breaks. Check the variable.")
        if not (0 < self.timeout_s < math.inf) or self.n_retries < 0 or self.n_parallel < 1:
            raise ConfigError(
                "An endpoint needs timeout_s > 0, n_retries >= 0 and n_parallel >= 1, "
                f"got {self.timeout_s}, {self.n_retries} and {self.n_parallel}."
            )

    @property
    def host(self) -> str:
        """Host, with the port where the URL names one."""
        return urlsplit(self.base_url).netloc


class Post(Protocol):
    """Posts one body and returns the answer; made by `OpenAIClient.connected`."""

    def __call__(self, path: str, body: _Json, around: Around = ...) -> Awaitable[_Json]:
        """The answer to `body`; every attempt, first or repeated, runs inside a block of `around`.

        The block sees the attempt fail as an `UpstreamError`, before it is decided whether to try again.
        """
        ...


class OpenAIClient:
    """Posts JSON to an OpenAI-compatible endpoint, a bounded number at once, and retries what may pass.

    Args:
        endpoint: Where to.
        rng: Draws the jitter of waits; a fresh generator where None.
        max_retry_after_s: Seconds that a `Retry-After` is honoured for at most.
        sleep: Waits a number of seconds; tests hand in one that only notes it.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        rng: np.random.Generator | None = None,
        max_retry_after_s: float = _MAX_RETRY_AFTER_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.endpoint = endpoint
        self._max_retry_after_s = max_retry_after_s
        self._rng = rng if rng is not None else np.random.default_rng()
        self._sleep = sleep

    def post_all(self, path: str, bodies: Sequence[_Json]) -> list[_Json]:
        """The answers to all bodies, in their order. Works with and without a running event loop.

        Args:
            path: Below the base URL: "embeddings".
            bodies: JSON objects; text must be valid Unicode.

        Raises:
            UpstreamError: Of the first request that fails for good; the others are cancelled.
        """
        return run_blocking(self.gather(path, bodies))

    async def gather(self, path: str, bodies: Sequence[_Json]) -> list[_Json]:
        """The async core of `post_all`."""
        slots = asyncio.Semaphore(self.endpoint.n_parallel)

        async def one(body: _Json) -> _Json:
            async with slots:
                return await post(path, body)

        async with self.connected() as post:
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(one(body)) for body in bodies]
            except* UpstreamError as failures:
                raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Post]:
        """A function that posts one body, over connections that stay open until the block ends.

        How many are in flight at once is the caller's to bound.
        """
        import aiohttp

        endpoint = self.endpoint
        headers = {"Authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {}
        timeout = aiohttp.ClientTimeout(total=endpoint.timeout_s)

        def post(path: str, body: _Json, around: Around = nullcontext) -> Awaitable[_Json]:
            return self._post(session, f"{endpoint.base_url.rstrip('/')}/{path}", body, around)

        # limit=0: the caller bounds the requests; two bounds would only hide each other
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector) as session:
            yield post

    async def _post(self, session: aiohttp.ClientSession, url: str, body: _Json, around: Around) -> _Json:
        import orjson

        data = orjson.dumps(body)
        for attempt in range(self.endpoint.n_retries + 1):
            try:
                async with around():
                    return await self._attempt(session, url, data)
            except UpstreamError as exc:
                if not exc.may_pass or attempt == self.endpoint.n_retries:
                    raise
                wait_s = self._wait_s(attempt, exc.retry_after_s)
                _logger.info("%s Trying again in %.1f s.", exc, wait_s)
                await self._sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    def _wait_s(self, attempt: int, retry_after_s: float | None) -> float:
        if retry_after_s is not None:
            return retry_after_s
        return float(min(_MAX_WAIT_S, _FIRST_WAIT_S * 2**attempt) * self._rng.uniform(0.5, 1.0))

    async def _attempt(self, session: aiohttp.ClientSession, url: str, data: bytes) -> _Json:
        import aiohttp

        host, timeout_s = self.endpoint.host, self.endpoint.timeout_s
        headers = {"Content-Type": "application/json"}
        try:
            async with session.post(url, data=data, headers=headers, allow_redirects=False) as answer:
                content = await self._content(answer)
                return self._checked(answer.status, answer.headers, content)
        except TimeoutError as exc:
            late = f"{host} did not answer within {timeout_s:g} s. Raise the timeout, or ask for less at once."
            raise UpstreamTimeout(late, may_pass=True, may_have_run=True) from exc
        except aiohttp.ClientSSLError as exc:
            raise UpstreamUnavailable(f"{host} offers no TLS that can be trusted. Check the base URL.") from exc
        except aiohttp.ClientConnectorError as exc:
            reason = exc.os_error.strerror or type(exc.os_error).__name__
            gone = f"{host} cannot be reached: {reason}. Check the base URL and that it is running."
            raise UpstreamUnavailable(gone, may_pass=True) from exc
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as exc:
            cut = f"{host} broke the connection off ({type(exc).__name__}). Try again later."
            raise UpstreamUnavailable(cut, may_pass=True, may_have_run=True) from exc
        except aiohttp.ClientError as exc:
            odd = f"{host} does not speak HTTP as expected ({type(exc).__name__})."
            raise UpstreamProtocolError(odd, may_have_run=True) from exc

    async def _content(self, answer: aiohttp.ClientResponse) -> bytes:
        content = bytearray()
        async for piece in answer.content.iter_chunked(1 << 16):
            content += piece
            if len(content) > _MAX_ANSWER_BYTES:
                long = (
                    f"{self.endpoint.host} answered with more than {_MAX_ANSWER_BYTES >> 20} MiB. Ask for less at once."
                )
                raise UpstreamProtocolError(long, status=answer.status, may_have_run=True)
        return bytes(content)

    def _checked(self, status: int, headers: Mapping[str, str], content: bytes) -> _Json:
        host = self.endpoint.host
        if 300 <= status < 400:
            raise UpstreamProtocolError(
                f"{host} answered with a redirect ({status}), which is not followed, since the key would travel with "
                "it. Set the base URL to the final address.",
                status=status,
            )
        body = _parsed(content)
        if status >= 400:
            said = self._said(body)
            if status in _RETRIED_4XX or status >= 500:
                raise UpstreamUnavailable(
                    f"{host} answered {status}{said}. Try again later.",
                    status=status,
                    may_pass=True,
                    may_have_run=status >= 500,  # a gateway gives up on work that goes on behind it
                    retry_after_s=retry_after_s(headers.get("Retry-After", ""), self._max_retry_after_s),
                )
            hint = " Check the API key." if status in (401, 403) else " Check the base URL and the model's name."
            raise UpstreamRefused(f"{host} answered {status}{said}.{hint}", status=status)
        if not isinstance(body, dict):
            kind = headers.get("Content-Type", "no content type").split(";")[0][:60]
            raise UpstreamProtocolError(
                f"{host} answered {status} with {_one_line(kind)}, not with a JSON object. Check that the base URL "
                "ends in /v1.",
                status=status,
                may_have_run=True,
            )
        return body

    def _said(self, body: object) -> str:
        """What the endpoint's error body says, on one line, shortened, without our key."""
        error = body.get("error") if isinstance(body, dict) else None
        message = error.get("message") if isinstance(error, dict) else error
        if not isinstance(message, str) or not message.strip():
            return ""
        if self.endpoint.api_key:
            message = message.replace(self.endpoint.api_key, "***")
        return f": {_one_line(message)[:200].rstrip('. ')}"


def run_blocking(work: Coroutine[Any, Any, _T]) -> _T:
    """The result of a coroutine, for a caller that is not async.

    Inside a running event loop (a notebook, a server) the work gets a loop of its own in another thread, and the
    calling thread waits.

    Example:
        >>> async def answer() -> int:
        ...     return 42
        >>> run_blocking(answer())
        42
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(asyncio.run, work).result()


def retry_after_s(said: str, most_s: float = _MAX_RETRY_AFTER_S) -> float | None:
    """Seconds in [0, `most_s`] that a `Retry-After` asks for, as a number or a date; None where it says nothing usable.

    Example:
        >>> retry_after_s("7"), retry_after_s("1e9"), retry_after_s("1e9", most_s=600.0), retry_after_s("soon")
        (7.0, 60.0, 600.0, None)
    """
    try:
        wait_s = float(said)
    except ValueError:
        try:
            wait_s = email.utils.parsedate_to_datetime(said).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return None if math.isnan(wait_s) else min(max(wait_s, 0.0), most_s)


def _parsed(content: bytes) -> object:
    import orjson

    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
