"""Keys and prompts are planted, much goes wrong, and then every trace that is left is searched for them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.servers.faulty_upstream import CLOSE, RESET, ROLE, STREAM_HEAD, FaultyUpstream, Step, chunk, event, whole
from tests.servers.gateway import CHAT, GatewayProcess, make_key, write_config

from prefroute.journal import RIGHTS

UPSTREAM_KEY = "sk-canary-upstream-5f1c9a0b7d"
PROMPT = "xylophone-canary-prompt"
LEAK = f"Incorrect API key provided: {UPSTREAM_KEY}. You sent Bearer {UPSTREAM_KEY}"
COOKIE = f"set-cookie: key={UPSTREAM_KEY}\r\nx-echo: {UPSTREAM_KEY}"
REFUSALS = [
    whole(status, {"error": {"message": LEAK, "code": UPSTREAM_KEY}}, COOKIE) for status in (400, 401, 403, 404)
]
FAILURES = [whole(status, {"error": {"message": LEAK}}, COOKIE) for status in (409, 422, 429, 500, 503)]
FAULTS: list[list[Step]] = [[answer] for answer in [*REFUSALS, *FAILURES]]
FAULTS += [
    [whole(302, b"", f"location: http://127.0.0.1:1/?key={UPSTREAM_KEY}")],
    [whole(200, f"<html>{LEAK}".encode(), kind="text/html")],
    [whole(200, {"error": {"message": LEAK}})],
    [f"HTTP/1.1 200 OK\r\nx: {UPSTREAM_KEY}\r\nbroken {UPSTREAM_KEY}\r\n\r\n".encode(), CLOSE],
    [STREAM_HEAD, chunk(ROLE), chunk(event({"content": "a"})), chunk(f"data: {LEAK}\n\n".encode()), RESET],
    [
        STREAM_HEAD,
        chunk(event({"content": "a"})),
        chunk(b'data: {"error": {"message": "%b"}}\n\n' % LEAK.encode()),
        CLOSE,
    ],
    [RESET],
]


N_FAULTS = 2 * len(FAULTS)


@dataclass
class Traces:
    """What was left, by where.

    Attributes:
        secrets: That must be nowhere.
        places: Bytes by the name of the place.
        upstream: What arrived there.
        statuses: Of all answers.
    """

    secrets: dict[str, bytes]
    places: dict[str, bytes] = field(default_factory=dict)
    upstream: bytes = b""
    statuses: set[int] = field(default_factory=set)


def ask(port: int, path: str, body: Any, key: str) -> tuple[int, bytes]:
    """Status, and every byte of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    with contextlib.closing(connection):
        connection.request("GET" if body is None else "POST", path, body and json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, str(answer.getheaders()).encode() + answer.read()


def prefroute(*words: object) -> bytes:
    done = subprocess.run([sys.executable, "-m", "prefroute", *map(str, words)], check=True, capture_output=True)
    return done.stdout + done.stderr


def frail(base_url: str) -> Callable[[int], str]:
    """A line of the configuration: a model for each fault, since one that fails often is left alone."""
    return lambda i: f'  frail-{i}: {{base_url: "{base_url}", api_key: "${{CANARY}}"}}\n'


def wanted(chat: dict[str, Any]) -> list[tuple[str, Any]]:
    """Requests that the gateway answers or refuses itself; some have the prompt where it does not belong."""
    return [
        ("/v1/chat/completions", chat),
        ("/v1/chat/completions", {**chat, "stream": True}),
        ("/v1/chat/completions", {**chat, "n": PROMPT}),
        ("/v1/route", chat),
        ("/v1/feedback", {"request_id": PROMPT, "score": 1}),
        ("/v1/models", None),
    ]


@pytest.fixture(scope="module")
def traces(tmp_path_factory) -> Traces:
    folder, runtime = tmp_path_factory.mktemp("gateway"), tmp_path_factory.mktemp("runtime")
    secret = make_key(folder, rights=tuple(RIGHTS))[1]
    left = Traces(
        {"the upstream's key": UPSTREAM_KEY.encode(), "a client's key": secret.encode(), "a prompt": PROMPT.encode()}
    )
    chat = {**CHAT, "messages": [{"role": "user", "content": f"{PROMPT}: what is 2 + 2?"}]}
    with FaultyUpstream() as upstream, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CANARY", UPSTREAM_KEY)
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        path = write_config(folder, upstream.base_url)
        good = path.read_text()
        path.write_text(good.replace("routes:", "".join(map(frail(upstream.base_url), range(N_FAULTS))) + "routes:"))
        left.places["serve --check"] = prefroute("serve", path, "--check")
        with GatewayProcess(path) as gateway:
            answers = [ask(gateway.port, *one, secret) for one in wanted(chat)]
            answers += [
                ask(gateway.port, "/v1/chat/completions", chat, wrong) for wrong in (secret[:-1] + "x", secret * 2)
            ]
            for i, steps in enumerate(FAULTS * 2):
                upstream.always(*steps)
                asked = {**chat, "model": f"frail-{i}", "stream": i >= len(FAULTS)}
                answers.append(ask(gateway.port, "/v1/chat/completions", asked, secret))
            answers.append(ask(gateway.port, "/metrics", None, secret))
            gateway.path.write_text("models: {")
            with contextlib.suppress(subprocess.CalledProcessError):
                prefroute("reload", path)
            left.places |= {f"while it runs: {file.name}": file.read_bytes() for file in files(folder, runtime)}
        path.write_text(good)
        left.places |= {f"in the end: {file.name}": file.read_bytes() for file in files(folder, runtime)}
        left.places["keys list"] = prefroute("keys", "list", path)
        left.places["report"] = prefroute("report", path)
        left.places["answers"] = b"".join(body for _, body in answers)
        left.statuses = {status for status, _ in answers}
        left.upstream = repr(upstream.requests).encode()
    return left


def files(*folders: Path) -> list[Path]:
    """Whatever lies in folders, the configuration and the router aside."""
    found = (Path(top) / name for folder in folders for top, _, names in os.walk(folder) for name in names)
    return [file for file in found if file.name != "gateway.yaml" and "router" not in file.parts and file.is_file()]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["the upstream's key", "a client's key", "a prompt"])
def test_what_is_secret_is_in_no_trace_that_is_left(traces, what):
    assert [place for place, held in traces.places.items() if traces.secrets[what] in held] == []


@pytest.mark.slow
def test_the_search_looked_where_something_could_be(traces):
    assert {"while it runs: log", "while it runs: journal.db", "while it runs: journal.db-wal"} <= set(traces.places)
    assert {200, 400, 401, 404, 502} <= traces.statuses
    assert traces.secrets["a prompt"] in traces.upstream  # where it belongs
    assert traces.secrets["the upstream's key"] in traces.upstream
    assert traces.upstream.count(b"Request(") >= N_FAULTS
    assert b"upstream_auth_failed" in traces.places["while it runs: log"]


@pytest.mark.slow
def test_the_clients_key_does_not_travel_to_the_model(traces):
    assert traces.secrets["a client's key"] not in traces.upstream
