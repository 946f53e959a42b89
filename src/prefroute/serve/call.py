"""One HTTP request in hand: its headers and body read within limits, its one answer sent.

The door is `Call`, over plain ASGI. It must not know what is asked for, by whom, or of which model.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeAlias

from prefroute.journal.keys import Key
from prefroute.journal.rows import RequestRow
from prefroute.serve.faults import Fault

__all__ = [
    "LINK",
    "Call",
    "Headers",
    "Interrupted",
    "Link",
    "Message",
    "Presence",
    "Receive",
    "Scope",
    "Send",
    "encoded",
    "new_request_id",
]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Headers: TypeAlias = Iterable[tuple[bytes, bytes]]

LINK = "prefroute.link"
"""ASGI extension of our server: the `Link` of a request."""

JSON = b"application/json"
_LINGER_S = 2.0
_LONG_BYTES = 64 * 1024  # more than may have come with the headers


@dataclass(slots=True)
class Link:
    """What the server knows of a request's connection.

    Attributes:
        leaving: Functions that are called when the client has left.
        is_body_whole: Whether all of the request has come.
    """

    leaving: set[Callable[[], None]]
    is_body_whole: bool = False


def new_request_id() -> str:
    """An id that sorts by time; not a secret."""
    # not from the operating system: a system call here would hand the interpreter's lock to another thread
    return f"req_{time.time_ns():016x}{random.getrandbits(64):016x}"


class Call:
    """A request and the answer to it.

    Args:
        scope: ASGI's, of type "http".
        receive: ASGI's.
        send: ASGI's.

    Attributes:
        request_id: Also a header of the answer.
        started: When the request came, of `time.perf_counter`, seconds.
        link: None where the server offers none.
        key: Who asks; None where the gateway is open, or before anybody looked.
        status: What was answered; 0 before that.
        row: What the journal gets, where it gets anything.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.request_id = new_request_id()
        self.started = time.perf_counter()
        self.started_at = time.time()
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.receive = receive
        self.link: Link | None = scope.get("extensions", {}).get(LINK)
        self.key: Key | None = None
        self.status = 0
        self.row: RequestRow | None = None
        self.error: str | None = None
        self._headers: list[tuple[bytes, bytes]] = scope["headers"]
        self._send = send
        self._is_body_read = False

    @property
    def key_id(self) -> str | None:
        """Of the key that asks."""
        return None if self.key is None else self.key.key_id

    def headers(self, name: bytes) -> list[bytes]:
        """The values of a header, whose name is in lower case."""
        return [value for key, value in self._headers if key == name]

    def header(self, name: bytes) -> bytes:
        """The first value of a header; empty where it is not there."""
        for key, value in self._headers:
            if key == name:
                return value
        return b""

    async def body(self, *, max_bytes: int, timeout_s: float) -> bytearray:
        """The body of a request that says it is JSON.

        Args:
            max_bytes: More is refused, before it is read where the client says how much comes.
            timeout_s: For all of it to arrive.

        Raises:
            Fault: 415 for another type or encoding, 413 for too much, 408 where it comes too slowly.
        """
        self._check_type()
        said = self.header(b"content-length")
        if said and int(said) > max_bytes:  # digits: the parser has seen to it
            raise _too_large(max_bytes)
        if self.link is not None and self.link.is_body_whole:  # as most are: a timer costs more than the rest of this
            return await self._gathered(max_bytes)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._gathered(max_bytes)
        except TimeoutError:
            headers = {"connection": "close", "x-should-retry": "false"}
            message = f"The body did not arrive within {timeout_s:g} s."
            raise Fault(408, "request_timeout", message, headers=headers) from None

    async def _gathered(self, max_bytes: int) -> bytearray:
        body = bytearray()
        while not self._is_body_read:
            body += await self._piece()
            if len(body) > max_bytes:
                raise _too_large(max_bytes)
        return body

    async def _piece(self) -> bytes:
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise Interrupted("client_disconnected")
        self._is_body_read = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece

    def _check_type(self) -> None:
        if (said := self.header(b"content-type")) == JSON and not self.header(b"content-encoding"):
            return
        kind, _, parameters = said.lower().partition(b";")
        charset = parameters.replace(b" ", b"").replace(b'"', b"")
        if kind.strip() != JSON or (b"charset=" in charset and b"charset=utf-8" not in charset):
            message = "The body must be JSON. Send `Content-Type: application/json`."
            raise Fault(415, "unsupported_media_type", message)
        if self.header(b"content-encoding") not in (b"", b"identity"):
            raise Fault(415, "unsupported_media_type", "The body must not be compressed. Send it as it is.")

    async def answer(self, status: int, body: bytes, headers: Headers = (), *, content_type: bytes = JSON) -> None:
        """Send the whole answer."""
        await self.begin(status, [(b"content-length", b"%d" % len(body)), *headers], content_type=content_type)
        await self.send(body, is_last=True)

    async def refuse(self, fault: Fault, more: Headers = ()) -> None:
        """Send an error as the whole answer, with more headers than its own."""
        self.error = fault.code
        body = fault.body()
        headers = [(name.encode(), value.encode()) for name, value in fault.headers.items()]
        headers += more
        is_long = not self._is_body_read and self._says_long_body()
        if is_long and "connection" not in fault.headers:
            headers.append((b"connection", b"close"))  # cheaper than to read what nobody wants
        await self.begin(fault.status, [(b"content-length", b"%d" % len(body)), *headers])
        if is_long:
            # A connection that is closed on a client that still writes is reset, and the answer may be lost with it.
            await self.send(body)
            with contextlib.suppress(TimeoutError, Interrupted):
                async with asyncio.timeout(_LINGER_S):
                    while not self._is_body_read:
                        await self._piece()
            body = b""
        await self.send(body, is_last=True)

    def _says_long_body(self) -> bool:
        said = self.header(b"content-length")
        return int(said) > _LONG_BYTES if said else bool(self.header(b"transfer-encoding"))

    async def begin(self, status: int, headers: Headers = (), *, content_type: bytes = JSON) -> None:
        """Send status and headers."""
        self.status = status
        named = [(b"content-type", content_type), (b"x-request-id", self.request_id.encode()), *headers]
        await self._send({"type": "http.response.start", "status": status, "headers": named})

    def send(self, piece: bytes, *, is_last: bool = False) -> Awaitable[None]:
        """Send a piece of the body; waits while the client is slow to read."""
        return self._send({"type": "http.response.body", "body": piece, "more_body": not is_last})


def _too_large(max_bytes: int) -> Fault:
    message = f"The body is larger than {max_bytes} bytes. Send less."
    return Fault(413, "request_too_large", message, headers={"connection": "close"})


class Interrupted(Exception):
    """Work on a call has ended early.

    Args:
        code: "client_disconnected" or "shutting_down".
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Presence:
    """Inside it, work is ended when the client leaves or the server stops; `Interrupted` comes out.

    Args:
        call: Whose body has been read.
        running: Where the server finds what it may `stop`.
    """

    def __init__(self, call: Call, running: set[Presence]) -> None:
        self._call = call
        self._running = running
        self._code: str | None = None

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        if self._call.link is None:
            self._watch = asyncio.get_running_loop().create_task(self._until_gone())
        else:  # a task for each request would cost as much as a tenth of the rest
            self._call.link.leaving.add(self._gone)
        self._running.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._running.discard(self)
        if self._call.link is not None:
            self._call.link.leaving.discard(self._gone)
        else:
            self._watch.cancel()
        if self._code is not None and kind is not None and issubclass(kind, asyncio.CancelledError):
            self._task.uncancel()
            raise Interrupted(self._code) from None

    def stop(self, code: str) -> None:
        """End the work, from outside."""
        if self in self._running and self._code is None:
            self._code = code
            self._task.cancel()

    async def _until_gone(self) -> None:
        while (await self._call.receive())["type"] != "http.disconnect":
            pass
        self._gone()

    def _gone(self) -> None:
        self.stop("client_disconnected")


def encoded(headers: Mapping[bytes, str | None]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI wants them, without those that have no value; what is not ASCII is escaped."""
    return [(name, value.encode("ascii", "backslashreplace")) for name, value in headers.items() if value is not None]
