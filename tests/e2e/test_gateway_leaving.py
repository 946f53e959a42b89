"""Clients that leave, at every stage of a request: the upstream is let go, and the journal holds what it cost."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.servers.faulty_upstream import HELLO, STALL, STREAM_HEAD, USAGE, FaultyUpstream, chunk, whole
from tests.servers.gateway import CHAT, GatewayProcess, request, rows, serving
from tests.waiting import eventually

WHOLE = request(json.dumps(CHAT).encode())
STREAM = request(json.dumps({**CHAT, "stream": True}).encode())


@pytest.fixture(scope="module")
def upstream() -> Iterator[FaultyUpstream]:
    with FaultyUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream) -> Iterator[GatewayProcess]:
    with serving(tmp_path_factory.mktemp("gateway"), upstream.base_url) as made:
        yield made


@pytest.fixture
def leave(gateway, upstream) -> Callable[..., list[dict[str, Any]]]:
    """Sends bytes, leaves once something is so, and returns the rows that this made when the gateway has noticed."""

    def run(sent: bytes, until: Callable[[socket.socket], object]) -> list[dict[str, Any]]:
        known = {row["request_id"] for row in rows(gateway.folder)}
        n_left = gateway.log.count('"status":499')
        upstream.left_at = None
        upstream.requests.clear()
        with gateway.connect() as sock:
            sock.sendall(sent)
            until(sock)
        left = time.monotonic()
        gateway.wait_for('"status":499', n_left + 1)
        if upstream.requests:
            eventually(lambda: upstream.left_at is not None)
            assert upstream.left_at - left < 1
        return [row for row in rows(gateway.folder) if row["request_id"] not in known]

    return run


def outcomes(gateway: GatewayProcess, row: dict[str, Any]) -> list[str]:
    return [each["outcome"] for each in rows(gateway.folder, "attempts") if each["request_id"] == row["request_id"]]


def has_read(text: bytes) -> Callable[[socket.socket], object]:
    def read(sock: socket.socket) -> None:
        got = b""
        while text not in got:
            got += sock.recv(65536)

    return read


@pytest.mark.parametrize("missing", [1, len(WHOLE) // 4])
def test_before_its_body_is_whole_no_model_is_asked_and_no_row_is_made(leave, upstream, missing):
    made = leave(WHOLE[:-missing], lambda sock: None)

    assert made == []
    assert upstream.requests == []


@pytest.mark.parametrize("sent", [WHOLE, STREAM], ids=["whole", "stream"])
def test_during_a_fallback_the_attempts_tell_how_far_it_came(leave, gateway, upstream, sent):
    upstream.does(whole(500, {"error": {"message": "oops"}}))
    upstream.does(STALL)

    (row,) = leave(sent, lambda sock: eventually(lambda: len(upstream.requests) == 2))

    assert (row["status"], row["error"], row["running_in"]) == (499, "client_disconnected", None)
    assert outcomes(gateway, row) == ["upstream_bad_status", "abandoned"]
    assert (row["tokens_out"], row["cost_usd"]) == (None, None)


@pytest.mark.parametrize("events", [HELLO, [*HELLO, USAGE]], ids=["counted here", "counted there"])
def test_before_the_last_chunk_what_was_said_is_paid_for(leave, gateway, upstream, events):
    upstream.does(STREAM_HEAD, *map(chunk, events), STALL)

    (row,) = leave(STREAM, has_read(events[-1]))

    assert (row["status"], row["error"], row["running_in"]) == (499, "client_disconnected", None)
    assert outcomes(gateway, row) == ["abandoned"]
    assert row["usage_source"] == ("upstream" if USAGE in events else "estimate")
    assert row["tokens_out"] > 0
    assert row["cost_usd"] == pytest.approx((row["tokens_in"] * 10 + row["tokens_out"] * 30) / 1e6)
