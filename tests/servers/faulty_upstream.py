"""An upstream on loopback that does exactly what a test tells it to, byte for byte, in a thread of its own.

HTTP libraries refuse to do most of what goes wrong in the world, so this one is made of raw sockets. A request that
nothing was scripted for gets a healthy answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from dataclasses import dataclass
from typing import Any

STALL = "stall"
"""Say nothing more until the client has gone."""
RESET = "reset"
"""Break the connection off with RST."""
CLOSE = "close"
"""End the connection as if nothing were missing."""

Step = bytes | float | str
"""Bytes to send, seconds to sleep, or one of the words above. After the last step the connection stays open."""


@dataclass(frozen=True)
class Request:
    """What arrived."""

    target: str
    headers: dict[str, str]
    body: Any


def event(delta: dict[str, Any], finish: str | None = None, *, index: int = 0, **more: Any) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"object": "chat.completion.chunk", "choices": [choice], **more}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
ROLE = event({"role": "assistant", "content": ""})
HELLO = [ROLE, event({"content": "Hel"}), event({"content": "lo"}), event({}, "stop")]
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}\n\n'
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def stream(*events: bytes, ends: bool = True) -> list[Step]:
    """Steps that send events as chunks, and end the body in order unless told otherwise."""
    return [STREAM_HEAD, *map(chunk, events), *([LAST_CHUNK] if ends else [])]


def whole(status: int, body: Any, *headers: str, kind: str = "application/json") -> bytes:
    """One answer; `body` is bytes, or JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}", f"content-length: {len(content)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def completion(text: str = "Hello") -> dict[str, Any]:
    return {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
    }


def healthy(target: str, body: dict[str, Any], text: str) -> list[Step]:
    """What a model in good health answers."""
    target, _, _ = target.partition("?")
    if target.endswith("/embeddings"):
        return [whole(200, {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]})]
    n = n_choices(body)
    if target.endswith("/chat/completions"):
        more = [event({}, "stop", index=index) for index in range(1, n)]
        return stream(*HELLO, *more, USAGE, DONE) if body.get("stream") else [whole(200, completion(text))]
    choices = [{"index": index, "text": text, "finish_reason": "stop"} for index in range(n)]
    if body.get("stream"):
        return stream(b"data: " + json.dumps({"choices": choices}).encode() + b"\n\n", DONE)
    return [whole(200, {"object": "text_completion", "choices": choices})]


def n_choices(body: dict[str, Any]) -> int:
    """How many answers a request asks for: `n` for each of its prompts."""
    prompts = body.get("prompt")
    n_prompts = len(prompts) if isinstance(prompts, list) and prompts and not isinstance(prompts[0], int) else 1
    return int(body.get("n") or 1) * n_prompts


class FaultyUpstream:
    """Use as a context manager.

    Attributes:
        requests: What has arrived so far.
        n_connections: Connections that were ever made.
        n_open: Connections that stand now.
        left_at: Monotonic time at which a client last ended a connection in the middle of an answer.
        text: What healthy answers say.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.n_connections = 0
        self.n_open = 0
        self.left_at: float | None = None
        self.text = "Hello"
        self.greeting: list[Step] | None = None
        self._script: list[list[Step]] = []
        self._always: list[Step] | None = None
        self._by_model: dict[str, list[Step]] = {}
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def does(self, *steps: Step) -> None:
        """What the next request that is not scripted yet gets."""
        self._script.append(list(steps))

    def always(self, *steps: Step) -> None:
        """What every request gets that is not scripted; nothing makes it healthy again."""
        self._always = list(steps) or None

    def whenever(self, model: str, *steps: Step) -> None:
        """What every request for one of its models gets."""
        self._by_model[model] = list(steps)

    def greets(self, *steps: Step) -> None:
        """What every connection gets before it has asked for anything."""
        self.greeting = list(steps)

    @property
    def base_url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> FaultyUpstream:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> asyncio.Server:
        self._tasks: set[asyncio.Task[None]] = set()
        return await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)

    async def _stop(self) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.n_connections += 1
        self.n_open += 1
        try:
            if self.greeting is not None:
                await self._perform(self.greeting, reader, writer)
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                await self._perform(await self._steps(head, reader), reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.n_open -= 1
            self._tasks.discard(task)
            writer.transport.abort()

    async def _steps(self, head: str, reader: asyncio.StreamReader) -> list[Step]:
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        self.requests.append(Request(first.split()[1], headers, body))
        if self._script:
            return self._script.pop(0)
        if (steps := self._by_model.get(body.get("model"), self._always)) is not None:
            return steps
        return healthy(self.requests[-1].target, body, self.text)

    async def _perform(self, steps: list[Step], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for step in steps:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            elif isinstance(step, float):
                await asyncio.sleep(step)
            elif step == STALL:
                with contextlib.suppress(ConnectionError):
                    await reader.read(1)
                self.left_at = time.monotonic()
                raise ConnectionError
            else:
                if step == CLOSE:
                    writer.close()
                    await writer.wait_closed()
                else:
                    sock = writer.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                raise ConnectionError
