"""What an answer looks like on the wire, and in how many writes it leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.protocols.http.flow_control import FlowControl

from prefroute.serve.cycle import Cycle


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed


class Read:
    """What a client's parser makes of it."""

    def __init__(self, raw: bytes) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.is_whole = False
        httptools.HttpResponseParser(self).feed_data(raw)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name] = value

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.is_whole = True


def answered(pieces: Sequence[bytes], *headers: tuple[bytes, bytes], method: str = "GET", version: str = "1.1") -> Wire:
    wire: Any = Wire()

    async def main() -> None:
        cycle = Cycle(
            scope={"method": method, "http_version": version},
            transport=wire,
            flow=FlowControl(wire),
            logger=logging.getLogger("test"),
            access_logger=logging.getLogger("test"),
            access_log=False,
            default_headers=[],
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=version == "1.1",
            on_response=lambda: None,
        )
        await cycle.send({"type": "http.response.start", "status": 200, "headers": headers})
        for i, piece in enumerate(pieces):
            await cycle.send({"type": "http.response.body", "body": piece, "more_body": i + 1 < len(pieces)})
        assert cycle.response_complete

    asyncio.run(main())
    kept: Wire = wire
    return kept


def test_a_whole_answer_leaves_in_one_write():
    wire = answered([b"{}"], (b"content-length", b"2"))

    assert wire.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"]
    assert not wire.is_closed


def test_the_head_of_a_stream_leaves_with_its_first_piece():
    first, *rest = answered([b"a", b"b"]).writes

    assert first == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n"
    assert rest == [b"1\r\nb\r\n0\r\n\r\n"]


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5))
def test_an_answer_of_unknown_length_is_read_back_from_its_chunks(pieces):
    read = Read(b"".join(answered(pieces).writes))

    assert (read.body, read.is_whole) == (b"".join(pieces), True)


def test_to_http_1_0_an_answer_of_unknown_length_ends_with_its_connection():
    wire = answered([b"a", b"b"], version="1.0")

    assert b"".join(wire.writes) == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nab"
    assert wire.is_closed


def test_the_answer_to_head_has_no_body():
    assert answered([b"{}"], (b"content-length", b"2"), method="HEAD").writes[0].endswith(b"content-length: 2\r\n\r\n")


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb"])
def test_a_header_cannot_begin_another(value):
    with pytest.raises(RuntimeError, match="holds a line end"):
        answered([b""], (b"x-prefroute-model", value))


def test_an_answer_that_says_so_ends_its_connection():
    wire = answered([b""], (b"content-length", b"0"), (b"connection", b"close"))

    assert wire.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"]
    assert wire.is_closed
