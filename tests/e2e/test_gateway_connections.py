"""Connections that do what no good client does: what is answered, in which order, and when it ends."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator

import pytest
from tests.servers.faulty_upstream import DONE, HELLO, FaultyUpstream, completion, whole
from tests.servers.gateway import GatewayProcess, request, serving, statuses

BODY = b'{"model": "auto", "messages": [{"role": "user", "content": "What is 2 + 2?"}]}'
GOOD = request(BODY)
STREAM = request(BODY.replace(b"{", b'{"stream": true, ', 1))
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
SLOW = 0.5


@pytest.fixture(scope="module")
def upstream() -> Iterator[FaultyUpstream]:
    with FaultyUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream) -> Iterator[GatewayProcess]:
    with serving(tmp_path_factory.mktemp("gateway"), upstream.base_url, server="header_s: 1, body_s: 3") as made:
        yield made


def until(sock: socket.socket, text: bytes) -> None:
    """Read until a text has come."""
    raw = b""
    while text not in raw:
        piece = sock.recv(65536)
        assert piece, raw
        raw += piece


def until_end(sock: socket.socket) -> bytes:
    """All that comes until the gateway ends the connection; it must."""
    raw = b""
    while piece := sock.recv(65536):
        raw += piece
    return raw


@pytest.mark.parametrize(
    ("broken", "status"),
    [
        (HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\n{", 400),  # its end is what comes next
        (HEAD + b"content-length : 2\r\n\r\n{}", 400),
        (HEAD + b"x: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"\x00garbage\r\n\r\n", 400),
    ],
)
@pytest.mark.parametrize("n_before", [1, 2])
def test_what_is_broken_is_refused_after_the_answers_to_what_came_before_it(
    gateway, upstream, broken, status, n_before
):
    for i in range(n_before):
        upstream.does(SLOW, whole(200, completion(f"answer {i}")))

    raw = gateway.raw(GOOD * n_before + broken + b"\r\n" + GOOD)

    assert statuses(raw) == [200] * n_before + [status]
    assert re.findall(rb"answer \d", raw) == [b"answer %d" % i for i in range(n_before)]
    assert raw.count(b"connection: close") == 1
    upstream.requests.clear()


def test_a_body_that_breaks_after_its_request_was_refused_ends_the_connection(gateway):
    nowhere = HEAD.replace(b"chat", b"cat") + b"transfer-encoding: chunked\r\n\r\n"

    with gateway.connect() as sock:
        sock.sendall(nowhere)
        until(sock, b'"unknown_url"')
        sock.sendall(b"zz\r\n" + GOOD)
        assert b"HTTP" not in until_end(sock)


@pytest.mark.parametrize("stray", [b"\n", b"\r\n"])
def test_a_stray_byte_after_an_answer_does_not_keep_a_connection_for_ever(gateway, stray):
    with gateway.connect() as sock:
        sock.sendall(GOOD)
        until(sock, b"Hello")
        sock.sendall(stray)

        assert b"HTTP" not in until_end(sock)


def test_a_blank_line_before_a_request_does_no_harm(gateway):
    with gateway.connect() as sock:
        for _ in range(3):
            sock.sendall(b"\r\n" + GOOD)
            until(sock, b"Hello")


def test_a_client_of_http_1_0_gets_a_stream_without_chunks_that_ends_with_the_connection(gateway):
    with gateway.connect() as sock:
        sock.sendall(STREAM.replace(b"HTTP/1.1", b"HTTP/1.0"))
        head, _, body = until_end(sock).partition(b"\r\n\r\n")

    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert body.startswith(b"".join(HELLO))
    assert body.endswith(DONE)


def test_a_client_of_http_1_0_is_told_the_length_of_what_is_not_streamed(gateway):
    with gateway.connect() as sock:
        sock.sendall(GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"))
        head, _, body = until_end(sock).partition(b"\r\n\r\n")

    assert b"content-length: %d\r\n" % len(body) in head


@pytest.mark.parametrize(("sizes", "status"), [((40_000, 40_000), 431), ((30_000, 30_000), 200)])
def test_the_limit_on_headers_counts_all_pieces_in_which_they_come(gateway, sizes, status):
    head, body = GOOD.split(b"\r\n\r\n")

    with gateway.connect() as sock:
        for i, size in enumerate(sizes):
            sock.sendall(head + b"\r\nx: " if i == 0 else b"")
            sock.sendall(b"a" * size)
            time.sleep(0.1)  # else both come as one
        sock.sendall(b"\r\nconnection: close\r\n\r\n" + body)
        raw = until_end(sock)

    assert statuses(raw) == [status]


def test_a_long_body_does_not_count_as_headers_of_the_request_behind_it(gateway):
    long = request(BODY.replace(b"?", b"?" * 300_000))

    assert statuses(gateway.raw(long + GOOD[:40], GOOD[40:])) == [200, 200]
