"""HTTP as the gateway speaks it: uvicorn's protocol over httptools, with the limits that it does not have.

The door is `protocol_class`. Added are deadlines for headers and for clients that do not read, a limit on the size of
headers, and refusals of broken requests in OpenAI's shape and in their turn. It must not know paths or bodies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from prefroute.serve.call import LINK, Link, new_request_id
from prefroute.serve.config import ServerSection
from prefroute.serve.cycle import Cycle
from prefroute.serve.faults import Fault, bad_request

__all__ = ["protocol_class"]

_MOST_HEAD_BYTES = 64 * 1024
_MOST_HEADERS = 200


def protocol_class(limits: Callable[[], ServerSection]) -> type[HttpToolsProtocol]:
    """The protocol for `uvicorn.Config(http=...)`.

    Args:
        limits: What holds now; a reload may change it.
    """

    class Protocol(_Protocol):
        current_limits = staticmethod(limits)

    return Protocol


class _Protocol(HttpToolsProtocol):
    current_limits: Callable[[], ServerSection]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._is_head_open = False  # part of a request's head has come
        self._n_hosts = 0
        self._n_head_bytes = 0  # of the pieces that hold the head: it is no longer than that
        self._n_first_bytes = 0  # of the first of them, which may begin with something else
        self._n_new_bytes = 0
        self._n_silent_bytes = 0  # since a head or a piece of a body was whole
        self._link: Link  # of the request that comes in
        self._leaving: set[Callable[[], None]] = set()
        self._answering: RequestResponseCycle | None = None  # `cycle` is the last request that came
        self._refusal: Fault | None = None
        self._is_over = False  # nothing more is read from here
        self._stalled: asyncio.TimerHandle | None = None
        self._head_due: asyncio.TimerHandle | None = None
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._stalled, self._head_due):
            if timer is not None:
                timer.cancel()
        for told in tuple(self._leaving):
            told()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return
        self._n_new_bytes = len(data)
        self._n_silent_bytes += len(data)
        if self._is_head_open:
            self._n_head_bytes += len(data)
        super().data_received(data)
        if self._is_over:
            return
        if self._is_head_open:
            is_too_long = self._n_head_bytes > _MOST_HEAD_BYTES + self._n_first_bytes
        else:  # trailers: the parser gathers them, and they are neither head nor body
            is_too_long = self._n_silent_bytes > _MOST_HEAD_BYTES + self._n_new_bytes
        if is_too_long:
            self._refusal = _too_long()
            self.send_400_response("")
        elif self._head_due is None and (self._is_head_open or not self._is_answering):
            self._await_head()  # whatever came has ended the wait for a next request

    @property
    def _is_answering(self) -> bool:
        return self._answering is not None and not self._answering.response_complete

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_head_open = True
        self._n_hosts = 0
        self._n_head_bytes = self._n_first_bytes = self._n_new_bytes

    def on_header(self, name: bytes, value: bytes) -> None:  # in place of uvicorn's: it is called the most
        if not self._is_head_open:
            return  # trailers come here too, after the request was let in by its headers
        name = name.lower()
        if name == b"host":
            self._n_hosts += 1
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self._n_silent_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._n_silent_bytes = 0
        self._link.is_body_whole = True
        super().on_message_complete()

    def on_headers_complete(self) -> None:  # in place of uvicorn's, which knows upgrades and another cycle
        self._is_head_open = False
        self._n_silent_bytes = 0
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None
        version = self.parser.get_http_version()
        self._check_head(version)
        url = httptools.parse_url(self.url)
        self._link = Link(self._leaving)
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["http_version"] = version
        self.scope["path"] = unquote(url.path.decode("ascii"))
        self.scope["raw_path"] = url.path
        self.scope["query_string"] = url.query or b""
        self.scope["extensions"] = {LINK: self._link}  # type: ignore[dict-item]  # within this process only
        before = self.cycle
        self.cycle = Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=[],
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version == "1.1" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _check_head(self, version: str) -> None:
        if len(self.headers) > _MOST_HEADERS or (
            self._n_head_bytes > _MOST_HEAD_BYTES  # else it cannot be too long, and is not measured
            and len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > _MOST_HEAD_BYTES
        ):
            self._refusal = _too_long()
        elif version not in ("1.1", "1.0"):
            self._refusal = bad_request("invalid_http", f"This server speaks HTTP/1.1, and not {version}.")
        elif self._n_hosts != 1 and version == "1.1":
            self._refusal = bad_request("invalid_http", "The request must have one Host header.")
        elif self.parser.should_upgrade():  # what follows would be read as another request, body or not
            self._refusal = bad_request("invalid_http", "This server speaks HTTP/1.1 only. Send no `Upgrade` header.")
        if self._refusal is not None:
            raise ValueError("refused")  # stops the parser; `send_400_response` is called next

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn where a request cannot be parsed. What came whole before it is answered first."""
        self._is_over = True
        self.flow.pause_reading()
        self._refusal = self._refusal or bad_request("invalid_http", "The request is not valid HTTP/1.1.")
        cycle = self.cycle
        if cycle is not None and cycle.more_body and not cycle.response_complete:  # its own body is what is broken
            if cycle is not self._answering:
                self.pipeline.popleft()
            elif cycle.response_started:
                cycle.keep_alive = False
            else:
                cycle.disconnected = True
                cycle.message_event.set()
                self._answering = None
        self._refuse_in_turn()

    def _refuse_in_turn(self) -> None:
        if self._refusal is not None and not self._is_answering and not self.transport.is_closing():
            self._write(self._refusal)

    def on_response_complete(self) -> None:
        super().on_response_complete()  # which begins the next answer
        self._refuse_in_turn()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _write(self, fault: Fault) -> None:
        body = fault.body()
        head = b"content-type: application/json\r\nx-request-id: %b\r\ncontent-length: %d\r\nconnection: close\r\n"
        self.transport.write(STATUS_LINE[fault.status] + head % (new_request_id().encode(), len(body)) + b"\r\n" + body)
        self.transport.close()

    def _await_head(self) -> None:
        self._head_due = self.loop.call_later(self.current_limits().header_s, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_due = None
        if self.transport.is_closing() or self._is_over or self._is_answering:
            return
        if self._is_head_open:
            self._is_over = True
            headers = {"x-should-retry": "false"}
            self._write(Fault(408, "request_timeout", "The headers did not arrive in time.", headers=headers))
        else:
            self.transport.close()  # nothing came that begins a request

    def pause_writing(self) -> None:
        """Called by the event loop when the client does not keep up."""
        super().pause_writing()
        self._stalled = self._watch_for_progress()

    def resume_writing(self) -> None:
        """Called by the event loop when it does again."""
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        super().resume_writing()

    def _watch_for_progress(self) -> asyncio.TimerHandle:
        waiting = self.transport.get_write_buffer_size()
        return self.loop.call_later(self.current_limits().write_s, self._check_progress, waiting)

    def _check_progress(self, before: int) -> None:
        if self.transport.get_write_buffer_size() < before:
            self._stalled = self._watch_for_progress()
        else:
            self.transport.abort()  # `connection_lost` tells whoever writes


def _too_long() -> Fault:
    return Fault(431, "headers_too_large", f"The headers are longer than {_MOST_HEAD_BYTES} bytes, or too many.")
