"""A stand-in for a model's endpoint: speaks OpenAI's protocol on loopback and says something harmless at once.

The door is `StandIn`. The demo and the speed script send their requests to it where a paid API would be. It is an
asyncio protocol over httptools, so that it takes a small part of the time of the gateway that is measured against it.
It must know nothing of routing.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
import orjson

from prefroute.errors import ConfigError

__all__ = ["StandIn"]

_CHARS_PER_TOKEN = 4
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
_FAILURE = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class StandIn:
    """A server for one loopback port; any model name is answered.

    Args:
        n_events: Pieces that a streamed answer comes in, besides the first and the last, >= 1.
        first_s: Seconds before a streamed answer's first piece.
        interval_s: Seconds between two pieces of a streamed answer.
        fail_every: Every answer of this number is an error, 500; 0: none is.

    Example:
        >>> import asyncio
        >>> async def port_taken() -> bool:
        ...     async with StandIn() as stand_in:
        ...         return stand_in.base_url.startswith("http://127.0.0.1:")
        >>> asyncio.run(port_taken())
        True
    """

    def __init__(
        self, *, n_events: int = 12, first_s: float = 0.0, interval_s: float = 0.0, fail_every: int = 0
    ) -> None:
        if n_events < 1 or first_s < 0 or interval_s < 0:
            raise ConfigError(f"Want n_events >= 1 and no negative time, got {n_events}, {first_s} and {interval_s}.")
        self.n_events = n_events
        self.first_s = first_s
        self.interval_s = interval_s
        self.fail_every = fail_every
        self.n_asked = 0
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()

    async def start(self, port: int = 0) -> None:
        """Listen; port 0 takes a free one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self, self._connections), "127.0.0.1", port)

    @property
    def base_url(self) -> str:
        """What a gateway is configured with, up to and including `/v1`."""
        if self._server is None:
            raise ConfigError("The stand-in is not started. Call start() first.")
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is None:
            return
        self._server.close()
        for connection in tuple(self._connections):
            connection.abort()
        await self._server.wait_closed()
        self._server = None

    async def __aenter__(self) -> StandIn:
        """Start on a free port."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        await self.stop()


class _Connection(asyncio.Protocol):
    def __init__(self, stand_in: StandIn, connections: set[_Connection]) -> None:
        self._stand_in = stand_in
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._body = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a TCP server gives a Transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        if self._task is not None:
            self._task.cancel()

    def abort(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    # httptools calls these by name

    def on_message_begin(self) -> None:
        self._body.clear()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        request: dict[str, Any] = orjson.loads(self._body) if self._body else {}
        self._stand_in.n_asked += 1
        if self._stand_in.fail_every and self._stand_in.n_asked % self._stand_in.fail_every == 0:
            self._transport.write(_FAILURE)
            return
        if request.get("stream"):
            self._task = asyncio.create_task(self._stream(request))
            return
        body = orjson.dumps(_completion(request))
        self._transport.write(_HEAD % (len(body), body))

    async def _stream(self, request: dict[str, Any]) -> None:
        stand_in = self._stand_in
        base = {"id": "chatcmpl-stand-in", "object": "chat.completion.chunk", "created": 0, "model": request["model"]}
        words = _text(request).split(" ")
        pieces: list[tuple[dict[str, str], str | None]] = [({"role": "assistant", "content": ""}, None)]
        pieces += [({"content": words[i % len(words)] + " "}, None) for i in range(stand_in.n_events)]
        pieces.append(({}, "stop"))
        self._transport.write(_STREAM_HEAD)
        await asyncio.sleep(stand_in.first_s)
        for delta, finish in pieces:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            self._event(orjson.dumps(base | {"choices": [choice]}))
            if stand_in.interval_s:
                await asyncio.sleep(stand_in.interval_s)
        self._event(b"[DONE]")
        self._transport.write(b"0\r\n\r\n")

    def _event(self, data: bytes) -> None:
        event = b"data: " + data + b"\n\n"
        self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))


def _text(request: dict[str, Any]) -> str:
    return f"This is the stand-in for {request.get('model')}. A real model would answer here."


def _completion(request: dict[str, Any]) -> dict[str, Any]:
    text = _text(request)
    n_in = len(orjson.dumps(request.get("messages", request.get("prompt", "")))) // _CHARS_PER_TOKEN
    n_out = len(text) // _CHARS_PER_TOKEN
    return {
        "id": "chatcmpl-stand-in",
        "object": "chat.completion",
        "created": 0,
        "model": request.get("model"),
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": n_in, "completion_tokens": n_out, "total_tokens": n_in + n_out},
    }
