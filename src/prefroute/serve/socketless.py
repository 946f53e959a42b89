"""An ASGI app asked without a socket: one request handed over, its answer read while it comes.

The door is `ask`. httpx has a transport for this, but it gives an answer only when it is whole: a streamed one would
come in one piece at the end, and a client that leaves early would not be noticed. Knows nothing of prefroute.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from typing import Any, TypeAlias

__all__ = ["App", "Coming", "ask"]

_Message: TypeAlias = MutableMapping[str, Any]
App: TypeAlias = Callable[[Any, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]], Any]
"""An ASGI application."""

_CLIENT = ("127.0.0.1", 0)


async def ask(app: App, method: str, url: Any, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> Coming:
    """Hand a request to the app; the answer is returned as soon as it has begun.

    Args:
        app: Runs on the event loop of the caller.
        method: As in "POST".
        url: Of httpx.
        headers: Names in any case, and values.
        body: Whole.

    Raises:
        Exception: What the app raises before its answer begins.
    """
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "headers": [(name.lower(), value) for name, value in headers],
        "scheme": url.scheme,
        "path": url.path,
        "raw_path": url.raw_path.split(b"?")[0],
        "query_string": url.query,
        "server": (url.host, url.port),
        "client": _CLIENT,
        "root_path": "",
    }
    coming = Coming(body)
    await coming.begin(app, scope)
    return coming


class Coming:
    """An answer whose head is there and whose body comes; read it to its end, or `leave` it.

    Attributes:
        status: HTTP status.
        headers: Names and values.
    """

    status: int
    headers: Sequence[tuple[bytes, bytes]]

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self._begun = asyncio.Event()
        self._left = asyncio.Event()
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(1)  # of one: the app waits for a slow reader
        self._task: asyncio.Task[None] | None = None

    async def begin(self, app: App, scope: dict[str, Any]) -> None:
        """Start the app, and wait for the head of its answer."""
        self._task = asyncio.create_task(self._run(app, scope))
        try:
            await self._begun.wait()
        except BaseException:
            await self.leave()
            raise
        if not hasattr(self, "status"):
            await self._task  # raises what the app raised

    async def next(self) -> bytes | None:
        """The next piece of the body; None at its end.

        Raises:
            Exception: What the app raised in the middle of its answer.
        """
        piece = None if self._left.is_set() else await self._pieces.get()
        if piece is None and self._task is not None:
            await self._task
        return piece

    async def leave(self) -> None:
        """The client goes: the app is told so, and what it still sends is dropped."""
        self._left.set()
        while not self._pieces.empty():
            self._pieces.get_nowait()  # the app may be waiting for room
        if self._task is not None:
            await asyncio.wait([self._task])

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces of the body."""
        while (piece := await self.next()) is not None:
            yield piece

    async def _run(self, app: App, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._receive, self._send)
        finally:
            self._begun.set()
            await self._put(None)

    async def _receive(self) -> _Message:
        if self._body is None:
            await self._left.wait()
            return {"type": "http.disconnect"}
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def _send(self, message: _Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], message.get("headers", [])
            self._begun.set()
        elif piece := message.get("body", b""):
            await self._put(piece)

    async def _put(self, piece: bytes | None) -> None:
        if not self._left.is_set():
            await self._pieces.put(piece)
