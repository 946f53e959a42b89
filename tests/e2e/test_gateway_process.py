"""`prefroute serve` in a process of its own, on a real socket: broken HTTP, signals, reload, workers."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.servers.faulty_upstream import DONE, HELLO, ROLE, STALL, FaultyUpstream, chunk, event, stream
from tests.servers.faulty_upstream import STREAM_HEAD as HEAD
from tests.servers.gateway import (
    CHAT,
    GatewayProcess,
    make_key,
    read_all,
    request,
    rows,
    serving,
    statuses,
    write_config,
)

BODY = json.dumps(CHAT).encode()
STREAM = json.dumps({**CHAT, "stream": True}).encode()
GOOD = request(BODY)
CLOSING = request(BODY, "connection: close")


@pytest.fixture(scope="module")
def upstream() -> Iterator[FaultyUpstream]:
    with FaultyUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream) -> Iterator[GatewayProcess]:
    """One gateway for the tests that leave it as it was."""
    with serving(
        tmp_path_factory.mktemp("gateway"), upstream.base_url, server="header_s: 1, body_s: 1, write_s: 1"
    ) as made:
        yield made


@pytest.fixture(autouse=True)
def _canary(monkeypatch):
    monkeypatch.setenv("CANARY", "sk-canary")


def ask(gateway: GatewayProcess, body: bytes = BODY, path: str = "/v1/chat/completions", **headers: str) -> Any:
    """Status and JSON of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    with contextlib.closing(connection):
        method = "GET" if path.startswith("/readyz") else "POST"
        connection.request(method, path, body, {"content-type": "application/json", **headers})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def test_the_openai_client_works_as_it_is(gateway, upstream):
    import openai

    with openai.OpenAI(base_url=f"http://127.0.0.1:{gateway.port}/v1", api_key="none", max_retries=0) as client:
        whole = client.chat.completions.create(**CHAT)
        streamed = client.chat.completions.create(**CHAT, stream=True)
        text = "".join(part.choices[0].delta.content or "" for part in streamed if part.choices)
        with pytest.raises(openai.NotFoundError, match="Unknown model 'nobody'"):
            client.chat.completions.create(**{**CHAT, "model": "nobody"})
        models = [model.id for model in client.models.list()]

    assert whole.choices[0].message.content == text == "Hello"
    assert models == ["auto", "big", "small"]


def test_the_openai_client_raises_where_a_stream_is_cut(gateway, upstream):
    import openai

    upstream.does(*stream(ROLE, event({"content": "Hel"})))
    with openai.OpenAI(base_url=f"http://127.0.0.1:{gateway.port}/v1", api_key="none", max_retries=0) as client:
        streamed = client.chat.completions.create(**CHAT, stream=True)

        with pytest.raises(openai.APIError, match="ended its answer without a finish_reason"):
            list(streamed)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length : 2\r\n\r\n{}", 400),
        (b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: a\x00b\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /healthz HTTP/2.0\r\nhost: x\r\n\r\n", 400),
        (b"GET /healthz HTTP/0.9\r\nhost: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\n{}", 400),
        (b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + b"x: y\r\n" * 2000 + b"\r\n", 431),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 431),
    ],
)
def test_broken_http_gets_one_refusal_and_the_connection_ends(gateway, upstream, head, status):
    before = len(upstream.requests)

    raw = gateway.raw(head + CLOSING)

    assert statuses(raw) == [status]
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert b"x-request-id: req_" in head
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    assert len(upstream.requests) == before


def test_trailers_are_no_headers_and_are_not_gathered_without_end(gateway):
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    chunked = head + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n" % (len(BODY), BODY)

    with gateway.connect() as client:
        client.sendall(chunked)
        with contextlib.suppress(OSError):  # it ends the connection at some point
            for _ in range(200):
                client.sendall(b"x: " + b"a" * 60_000 + b"\r\n")
        with contextlib.suppress(OSError):
            assert 200 not in statuses(read_all(client, 10))
    assert statuses(gateway.raw(chunked + b"host: elsewhere\r\n\r\n" + CLOSING)) == [200, 200]


def test_pipelined_requests_are_answered_in_order(gateway):
    nobody = request(BODY.replace(b"auto", b"nobody"))

    assert statuses(gateway.raw(GOOD + nobody + CLOSING)) == [200, 404, 200]


def test_headers_that_do_not_arrive_are_not_waited_for(gateway):
    with gateway.connect() as slow, gateway.connect() as silent:
        slow.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost:")

        assert statuses(read_all(slow, 10)) == [408]
        assert read_all(silent, 10) == b""


def test_a_body_that_does_not_arrive_is_not_waited_for(gateway):
    with gateway.connect() as sock:
        sock.sendall(GOOD[:-5])

        raw = read_all(sock, 10)

    assert statuses(raw) == [408]
    assert b'"request_timeout"' in raw


def test_a_body_that_is_too_large_is_refused_before_it_is_read(gateway):
    head = request(b"").replace(b"content-length: 0", b"content-length: 1000000000000")

    with gateway.connect() as sock:
        sock.sendall(head)
        raw = read_all(sock, 10)

    assert statuses(raw) == [413]


def test_a_client_that_does_not_read_is_given_up(gateway, upstream):
    part = chunk(event({"content": "x" * 60_000}))
    upstream.does(HEAD, *[part] * 400, STALL)

    with gateway.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(request(STREAM))
        head = sock.recv(2048).decode()
        request_id = head.partition("x-request-id: ")[2].split()[0]
        gateway.wait_for(f'"{request_id}".*"error":"client_disconnected"')

    row = next(row for row in rows(gateway.folder) if row["request_id"] == request_id)
    assert (row["status"], row["error"]) == (499, "client_disconnected")


def test_a_client_that_resets_its_connection_ends_the_upstream(gateway, upstream):
    upstream.left_at = None
    upstream.does(HEAD, chunk(ROLE), chunk(event({"content": "Hel"})), STALL)
    with gateway.connect() as sock:
        sock.sendall(request(STREAM))
        while b"Hel" not in sock.recv(65536):
            pass
    left = time.monotonic()

    while upstream.left_at is None:
        time.sleep(0.005)

    assert upstream.left_at - left < 1


def test_a_web_page_cannot_use_an_open_gateway_by_a_name_of_its_own(gateway):
    status, answer = ask(gateway, host="evil.example:8000")

    assert (status, answer["error"]["code"]) == (403, "permission_denied")


@pytest.mark.slow
def test_another_address_than_loopback_needs_a_key(run, tmp_path, upstream):
    path = write_config(tmp_path, upstream.base_url)

    message = run.refused("serve", path, "--host", "0.0.0.0")

    assert message.startswith("Anybody who reaches '0.0.0.0' could use your models: there is no key yet.")
    make_key(tmp_path)
    with GatewayProcess(path, "--host", "0.0.0.0") as gateway:
        assert ask(gateway)[0] == 401


def test_a_port_that_is_taken_is_said_in_one_line(run, tmp_path, upstream, gateway):
    path = write_config(tmp_path, upstream.base_url)

    message = run.refused("serve", path, "--port", gateway.port)

    assert message.startswith(f"Port {gateway.port} of 127.0.0.1 is taken.")


@pytest.mark.slow
def test_a_revoked_key_is_refused_within_a_second(tmp_path, upstream):
    from prefroute.journal import open_database, revoke_key

    key, secret = make_key(tmp_path)
    with GatewayProcess(write_config(tmp_path, upstream.base_url)) as gateway:
        assert ask(gateway, authorization=f"Bearer {secret}")[0] == 200
        engine = open_database(f"sqlite:///{tmp_path / 'journal.db'}")
        revoke_key(engine, key.key_id)
        engine.dispose()
        revoked = time.monotonic()

        while ask(gateway, authorization=f"Bearer {secret}")[0] == 200:
            assert time.monotonic() - revoked < 2  # one for the promise, one for a busy machine

        assert ask(gateway)[0] == 401  # with its last key gone it is closed, not open


def test_streams_may_finish_when_the_server_is_told_to_stop(tmp_path):
    with FaultyUpstream() as upstream, GatewayProcess(write_config(tmp_path, upstream.base_url)) as gateway:
        parts = [chunk(part) for part in (*HELLO, DONE)]
        upstream.does(HEAD, *parts[:2], 0.7, *parts[2:], b"0\r\n\r\n")
        with gateway.connect() as sock:
            sock.sendall(request(STREAM))
            got = sock.recv(65536)
            gateway.process.send_signal(signal.SIGTERM)
            gateway.wait_for('"message":"Stopping: 1 requests are running."')
            status, refusal = ask(gateway)
            ready, _ = ask(gateway, path="/readyz")
            got += read_all(sock, 10)

        assert gateway.process.wait(20) == 0
        assert (status, refusal["error"]["code"], ready) == (503, "shutting_down", 503)
        assert b"[DONE]" in got
        assert rows(tmp_path)[0]["status"] == 200


def test_streams_that_outlast_the_drain_end_in_an_error(tmp_path):
    with FaultyUpstream() as upstream:
        path = write_config(tmp_path, upstream.base_url)
        path.write_text(path.read_text().replace("drain_s: 2", "drain_s: 0.2"))
        with GatewayProcess(path) as gateway, gateway.connect() as sock:
            upstream.does(HEAD, chunk(ROLE), chunk(event({"content": "Hel"})), STALL)
            sock.sendall(request(STREAM))
            got = sock.recv(65536)

            code = gateway.stop()

            got += read_all(sock)
    assert code == 0
    assert b'"code":"shutting_down"' in got
    assert b"[DONE]" not in got
    (row,) = rows(tmp_path)
    assert (row["status"], row["error"]) == (200, "shutting_down")


@pytest.mark.slow
def test_a_keys_requests_per_minute_hold_for_all_workers_together(tmp_path, upstream):
    _, secret = make_key(tmp_path, requests_per_minute=8)
    with GatewayProcess(write_config(tmp_path, upstream.base_url), "--workers", "2") as gateway:
        gateway.wait_for("Listening on", 2)
        began = time.monotonic()
        statuses = [ask(gateway, authorization=f"Bearer {secret}")[0] for _ in range(40)]
        flown_in = (time.monotonic() - began) * 8 / 60

    assert 8 <= statuses.count(200) <= 8 + flown_in
    assert statuses.count(429) == 40 - statuses.count(200)


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced_and_keys_count_for_all(tmp_path):
    with (
        FaultyUpstream() as upstream,
        GatewayProcess(write_config(tmp_path, upstream.base_url), "--workers", "2") as gateway,
    ):
        gateway.wait_for("Listening on", 2)
        children = Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children").read_text().split()
        assert {ask(gateway)[0] for _ in range(20)} == {200}

        victim = next(int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(victim, signal.SIGKILL)

        gateway.wait_for("another starts")
        gateway.wait_for("Listening on", 3)
        assert {ask(gateway)[0] for _ in range(20)} == {200}
        with urllib.request.urlopen(f"http://127.0.0.1:{gateway.port}/metrics") as answer:
            page = answer.read().decode()
        assert 'prefroute_requests_total{endpoint="chat",model="big",route="auto",status="200"} 40.0' in page
        gateway.process.send_signal(signal.SIGHUP)
        gateway.wait_for("Serving configuration", 2)
        assert gateway.stop() == 0
    assert len(rows(tmp_path)) == 40
