"""The whole gateway while its journal's database is locked, full or hangs: what clients see, and what is kept."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import resource
import signal
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from tests.servers.gateway import CHAT, GatewayProcess, write_config
from tests.servers.postgres import Postgres

from prefroute.journal import open_database
from prefroute.journal.tables import requests
from prefroute.journal.writer import PATIENCE_S

pytestmark = pytest.mark.slow

IN_TIME_S = PATIENCE_S + 3  # the rest is for a busy machine
AT_ONCE_S = PATIENCE_S / 2  # likewise, and far from what waiting would take


@dataclass
class Answer:
    status: int
    request_id: str
    body: bytes
    took_s: float

    @property
    def code(self) -> Any:
        return json.loads(self.body)["error"]["code"]


def ask(gateway: GatewayProcess, path: str = "/v1/chat/completions", **fields: Any) -> Answer:
    begin = time.monotonic()
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)) as connection:
        if path == "/readyz":
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps({**CHAT, **fields}), {"content-type": "application/json"})
        answer = connection.getresponse()
        body = answer.read()
    return Answer(answer.status, answer.headers["x-request-id"], body, time.monotonic() - begin)


def wait_until_ready(gateway: GatewayProcess) -> None:
    deadline = time.monotonic() + 30
    while b'"journal":"ok"' not in (body := ask(gateway, "/readyz").body):
        assert time.monotonic() < deadline, body
        time.sleep(0.05)


@contextlib.contextmanager
def locked(gateway: GatewayProcess) -> Iterator[None]:
    """Another process holds the file."""
    with contextlib.closing(sqlite3.connect(gateway.folder / "journal.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("COMMIT")


@contextlib.contextmanager
def full(gateway: GatewayProcess) -> Iterator[None]:
    """Files may not be written to: what a disk does that is full, and it needs no disk. The log is lost too."""
    pid = gateway.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))
    yield
    with contextlib.suppress(ProcessLookupError):  # it was stopped meanwhile
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@pytest.fixture(params=["locked", "full", "hanging"])
def trouble(request: pytest.FixtureRequest) -> Any:
    """What happens to the database, and its URL."""
    if request.param != "hanging":
        return globals()[request.param], None
    postgres: Postgres = request.getfixturevalue("postgres")
    return lambda gateway: postgres.hanging(), postgres.empty_database()


def config(folder: Path, upstream: Any, url: str | None, on_failure: str) -> Path:
    path = write_config(folder, upstream.base_url, journal=f"on_failure: {on_failure}")
    if url is not None:
        path.write_text(path.read_text().replace("sqlite:///journal.db", url))
    return path


def stored(folder: Path, url: str | None) -> dict[str, tuple[int | None, str | None]]:
    """Status and error of each request."""
    engine = open_database(url or "sqlite:///journal.db", folder)
    with engine.connect() as connection:
        found = {row.request_id: (row.status, row.error) for row in connection.execute(select(requests))}
    engine.dispose()
    return found


def test_requests_that_cannot_be_recorded_are_refused_and_their_rows_say_so(tmp_path, upstream, trouble):
    happens, url = trouble
    with GatewayProcess(config(tmp_path, upstream, url, "refuse")) as gateway:
        before = ask(gateway)
        with happens(gateway):
            during, ready = ask(gateway), ask(gateway, "/readyz")
            known = ask(gateway)
        wait_until_ready(gateway)
        after = ask(gateway)
        assert gateway.stop() == 0

    assert (before.status, after.status) == (200, 200)
    assert (during.status, during.code) == (503, "log_store_unavailable")
    assert during.took_s < IN_TIME_S
    assert (ready.status, json.loads(ready.body)["journal"]) == (503, "unavailable")
    assert (known.status, known.code) == (503, "log_store_unavailable")
    assert known.took_s < AT_ONCE_S
    assert stored(tmp_path, url) == {
        before.request_id: (200, None),
        during.request_id: (503, "log_store_unavailable"),
        after.request_id: (200, None),
    }


def test_requests_are_served_all_the_same_where_that_is_wanted_and_their_rows_come_later(tmp_path, upstream, trouble):
    happens, url = trouble
    with GatewayProcess(config(tmp_path, upstream, url, "serve")) as gateway:
        asked = [ask(gateway)]
        with happens(gateway):
            asked += [ask(gateway), ask(gateway), ask(gateway, stream=True)]
            ready = ask(gateway, "/readyz")
        wait_until_ready(gateway)
        asked.append(ask(gateway))
        assert gateway.stop() == 0

    assert [answer.status for answer in asked] == [200] * 5
    assert asked[1].took_s < IN_TIME_S
    assert asked[2].took_s < AT_ONCE_S  # the gateway knows by now
    assert asked[3].took_s < AT_ONCE_S
    assert asked[3].body.endswith(b"data: [DONE]\n\n")
    assert (ready.status, json.loads(ready.body)["journal"]) == (200, "unavailable")
    assert stored(tmp_path, url) == {answer.request_id: (200, None) for answer in asked}


def test_a_gateway_stops_in_time_and_says_what_is_lost(tmp_path, upstream, trouble):
    happens, url = trouble
    with GatewayProcess(config(tmp_path, upstream, url, "serve")) as gateway:
        before = ask(gateway)
        with happens(gateway):
            lost = ask(gateway)
            begin = time.monotonic()
            assert gateway.stop(signal.SIGTERM) == 0
            took_s = time.monotonic() - begin
        assert re.search(r"1 rows( so far| are lost)", gateway.log) or happens is full  # which limits the log too

    assert took_s < IN_TIME_S + 2
    assert stored(tmp_path, url).keys() - {lost.request_id} == {before.request_id}
