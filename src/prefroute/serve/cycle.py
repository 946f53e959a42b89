"""One request and its answer as they go over a connection: uvicorn's cycle, writing less often.

The door is `Cycle`. Status and headers leave with the first piece of the body, as ASGI has it: uvicorn writes them
apart, and a write costs more than all else here. It must not know what is answered.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from prefroute.serve.call import Headers, Message

__all__ = ["Cycle"]

_LAST_CHUNK = b"0\r\n\r\n"


class Cycle(RequestResponseCycle):
    """An answer that does not say its length goes out in chunks or, to HTTP/1.0, ends the connection."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self._head = b""  # waits for the first piece
        self._is_chunked = False

    async def send(self, message: Message) -> None:  # type: ignore[override]  # ASGI's, of which two kinds come here
        """ASGI's; waits while the client is slow to read."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.start":
            self.response_started = True
            self.waiting_for_100_continue = False
            self._head = self._heading(message["status"], message["headers"])
            return
        piece = b"" if self.scope["method"] == "HEAD" else self._framed(message["body"], message["more_body"])
        if self._head or piece:
            self.transport.write(self._head + piece)
            self._head = b""
        if not message["more_body"]:
            self._end()

    def _heading(self, status: int, headers: Headers) -> bytes:
        lines = [STATUS_LINE[status]]
        has_length = False
        for name, value in headers:
            if name == b"content-length":
                has_length = True
            elif name == b"connection":  # nothing here says anything but `close`
                self.keep_alive = False
                continue
            lines.append(b"%b: %b\r\n" % (name, value))
        self._is_chunked = not has_length and self.scope["http_version"] == "1.1"
        if self._is_chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        if not self.keep_alive:  # as to HTTP/1.0, always
            lines.append(b"connection: close\r\n")
        head = b"".join(lines)
        if not len(lines) == head.count(b"\n") == head.count(b"\r"):  # a value would begin a header of its own
            raise RuntimeError("a header of the answer holds a line end")
        return head + b"\r\n"

    def _framed(self, body: bytes, more_body: bool) -> bytes:
        if not self._is_chunked:
            return body
        end = b"" if more_body else _LAST_CHUNK
        return b"%x\r\n%b\r\n%b" % (len(body), body, end) if body else end

    def _end(self) -> None:
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
