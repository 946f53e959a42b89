"""SIGKILL under load: what a client was told is in the journal, whole; what was not finished is marked so."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from tests.chaos.load import Load, many
from tests.servers.gateway import GatewayProcess, rows, write_config

from prefroute.journal.inbox import INTENT_S
from prefroute.serve.stand_in import StandIn

N_KILLS, N_CLIENTS = 30, 16


def check(load: Load, folder: Path) -> None:
    """Every acknowledged answer has its whole row, and no row is left open."""
    found = {row["request_id"]: row for row in rows(folder)}
    whole = {
        request_id
        for request_id, row in found.items()
        if row["status"] == 200
        and row["error"] is None
        and row["tokens_out"]
        and row["latency_s"] > 0
        and row["model"] == row["chosen"] == "big"
        and row["prompt_hash"] == load.answered.get(request_id, row["prompt_hash"])
    }
    with_attempts = {row["request_id"] for row in rows(folder, "attempts") if row["outcome"] == "ok"}

    assert set(load.answered) - whole == set()
    assert set(load.answered) - with_attempts == set()
    assert {row["error"] for row in found.values()} <= {None, "interrupted"}
    assert [row for row in found.values() if row["running_in"] is not None] == []
    with contextlib.closing(sqlite3.connect(folder / "journal.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.slow
def test_thirty_kills_under_load_lose_no_answered_request(tmp_path):
    """Somebody reads the journal before every second kill: a reader must not take the log with him.

    A streamed answer lasts three times as long as the journal waits before it writes that a request has begun, so that
    a kill finds such rows on a machine of any speed.
    """
    rng = random.Random(0)
    load = Load()

    async def scenario() -> None:
        async with StandIn(n_events=3, interval_s=INTENT_S) as upstream:
            path = write_config(tmp_path, upstream.base_url)
            for i in range(N_KILLS):
                (tmp_path / "log").unlink(missing_ok=True)
                with GatewayProcess(path) as gateway:
                    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session:
                        asking = asyncio.create_task(many(load, f"http://127.0.0.1:{gateway.port}", session, N_CLIENTS))
                        await asyncio.sleep(rng.uniform(0.1, 0.4))
                        if i % 2:
                            await asyncio.to_thread(look, tmp_path)
                        gateway.process.kill()
                        await asking
            with GatewayProcess(path):
                pass  # takes up what the last one left

    asyncio.run(scenario())

    assert len(load.answered) > 10 * N_KILLS
    assert load.statuses == {200}
    check(load, tmp_path)
    assert "interrupted" in {row["error"] for row in rows(tmp_path)}


def look(folder: Path) -> None:
    """Read the journal from another process, as `prefroute report` does."""
    code = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('select count(*) from requests').fetchone()"
    subprocess.run([sys.executable, "-c", code, str(folder / "journal.db")], check=True)


@pytest.mark.slow
def test_killed_workers_are_replaced_and_lose_no_answered_request(tmp_path):
    load = Load()

    async def scenario() -> None:
        async with StandIn(n_events=3, interval_s=0.002) as upstream:
            path = write_config(tmp_path, upstream.base_url)
            with GatewayProcess(path, "--workers", "2") as gateway:
                gateway.wait_for("Listening on", 2)
                async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session:
                    is_over = asyncio.Event()

                    async def ask_on() -> None:
                        while not is_over.is_set():
                            with contextlib.suppress(aiohttp.ClientError, ConnectionError):  # of the worker that died
                                await load.ask(f"http://127.0.0.1:{gateway.port}", session)

                    async with asyncio.TaskGroup() as clients:
                        for _ in range(N_CLIENTS):
                            clients.create_task(ask_on())
                        for n in range(4):
                            await asyncio.sleep(0.3)
                            os.kill(workers(gateway)[n % 2], signal.SIGKILL)
                            await asyncio.to_thread(gateway.wait_for, "Listening on", 3 + n)
                        is_over.set()
                assert gateway.stop() == 0

    asyncio.run(scenario())

    assert len(load.answered) > 40
    assert load.statuses == {200}
    check(load, tmp_path)


def workers(gateway: GatewayProcess) -> list[int]:
    pid = gateway.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
