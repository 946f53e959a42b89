"""Many streams at once when the gateway is told to stop, and when their clients leave."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import time

import pytest
from tests.servers.faulty_upstream import DONE, HELLO, LAST_CHUNK, ROLE, STALL, STREAM_HEAD, chunk, event
from tests.servers.gateway import CHAT, GatewayProcess, read_all, request, rows, write_config

N_STREAMS = 50
STREAM = request(json.dumps({**CHAT, "stream": True}).encode())
BEGUN = [STREAM_HEAD, chunk(ROLE), chunk(event({"content": "Hel"}))]


def begin(gateway: GatewayProcess, stack: contextlib.ExitStack) -> list[tuple[socket.socket, bytes]]:
    """Streams whose first words have come, and what has come of each."""
    socks = [stack.enter_context(gateway.connect()) for _ in range(N_STREAMS)]
    for sock in socks:
        sock.sendall(STREAM)
    found = []
    for sock in socks:
        got = b""
        while b"Hel" not in got:
            piece = sock.recv(65536)
            assert piece, got
            got += piece
        found.append((sock, got))
    return found


@pytest.mark.slow
def test_fifty_streams_finish_when_the_server_is_told_to_stop(tmp_path, upstream):
    path = write_config(tmp_path, upstream.base_url)
    path.write_text(path.read_text().replace("drain_s: 2", "drain_s: 20"))
    upstream.always(*BEGUN, 0.8, *map(chunk, [*HELLO[2:], DONE]), LAST_CHUNK)

    with GatewayProcess(path) as gateway, contextlib.ExitStack() as stack:
        begun = begin(gateway, stack)
        gateway.process.send_signal(signal.SIGTERM)
        ended = [got + read_all(sock, 10) for sock, got in begun]
        code = gateway.process.wait(20)

    assert code == 0
    assert [got for got in ended if b"data: [DONE]" not in got] == []
    assert [(row["status"], row["error"]) for row in rows(tmp_path)] == [(200, None)] * N_STREAMS


@pytest.mark.slow
def test_fifty_clients_that_leave_end_fifty_calls_within_a_second(tmp_path, upstream):
    upstream.always(*BEGUN, STALL)

    with GatewayProcess(write_config(tmp_path, upstream.base_url)) as gateway:
        with contextlib.ExitStack() as stack:
            begin(gateway, stack)
            assert upstream.n_open == N_STREAMS
            left = time.monotonic()
        while upstream.n_open:
            time.sleep(0.01)
        took_s = time.monotonic() - left
        upstream.always()
        assert b"Hello" in gateway.raw(request(json.dumps(dict(CHAT)).encode()))
        assert gateway.stop() == 0

    assert took_s < 2  # one for the promise, one for a busy machine
    assert [row["error"] for row in rows(tmp_path)] == ["client_disconnected"] * N_STREAMS + [None]
    assert {row["tokens_out"] for row in rows(tmp_path)[:-1]} == {1}
    assert [row for row in rows(tmp_path) if row["running_in"] is not None] == []
