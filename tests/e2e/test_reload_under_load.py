"""A gateway with two workers that reloads again and again while clients ask: nobody notices."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from prefroute.checkpoint import save_checkpoint
from prefroute.errors import ConfigError
from prefroute.routers.random import Random
from prefroute.serve.reload import reload_gateway
from prefroute.serve.stand_in import StandIn
from prefroute.serve.status import live_statuses
from prefroute.testing import tiny_outcomes

N_RELOADS, N_CLIENTS = 50, 8

FILE = """\
server: {{port: 0, workers: 2}}
models:
  big: {{base_url: "{url}"}}
  small: {{base_url: "{url}"}}
routes:
  auto: {{router: router-{alpha}, candidates: [big, small], policy: {{threshold: {alpha}}}}}
"""


@contextlib.asynccontextmanager
async def gateway(path: Path) -> AsyncIterator[str]:
    """The base URL of a gateway in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "prefroute", "serve", str(path), stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    lines: list[bytes] = []
    try:
        async with asyncio.timeout(60):
            while not (found := re.search(rb"Listening on (http://127.0.0.1:\d+)", b"".join(lines[-1:]))):
                line = await process.stderr.readline()
                assert line, b"".join(lines)
                lines.append(line)
        drained = asyncio.create_task(process.stderr.read())  # a full pipe would stop the gateway
        yield found[1].decode()
    finally:
        process.terminate()
        assert await process.wait() == 0
    await drained


async def ask(session: aiohttp.ClientSession, url: str, *, stream: bool) -> tuple[int, str, bool]:
    """Status of an answer, the model that gave it, and whether it is whole."""
    body = {"model": "auto", "stream": stream, "messages": [{"role": "user", "content": "What is 2 + 2?"}]}
    async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
        text = await answer.text()
        is_whole = text.endswith("data: [DONE]\n\n") and "error" not in text if stream else '"choices"' in text
        return answer.status, answer.headers.get("x-prefroute-model", ""), is_whole


@pytest.mark.slow
def test_fifty_reloads_under_load_fail_no_request_and_mix_no_configurations(tmp_path):
    path = tmp_path / "gateway.yaml"
    routers = [
        save_checkpoint(Random("big", "small", seed=i).fit(tiny_outcomes()), tmp_path / f"router-{i}") for i in (0, 1)
    ]
    answers: list[tuple[int, str, bool]] = []

    async def scenario() -> None:
        async with StandIn() as upstream, aiohttp.ClientSession() as session:

            def write(alpha: int) -> None:
                path.write_text(FILE.format(url=upstream.base_url, alpha=alpha), encoding="utf-8")

            async def client(url: str) -> None:
                while not is_over.is_set():
                    answers.append(await ask(session, url, stream=len(answers) % 2 == 0))

            is_over = asyncio.Event()
            write(0)
            async with gateway(path) as url, asyncio.timeout(120), asyncio.TaskGroup() as clients:
                while len(live_statuses(path)) < 2:  # the port answers with the first worker
                    await asyncio.sleep(0.05)
                for _ in range(N_CLIENTS):
                    clients.create_task(client(url))
                for n in range(N_RELOADS):
                    write(n % 3)  # 2 is no threshold
                    refused = pytest.raises(ConfigError, match="threshold") if n % 3 == 2 else contextlib.nullcontext()
                    with refused:
                        served = await asyncio.to_thread(reload_gateway, path)
                        assert len(served) == 2
                    if n % 3 != 2:
                        assert await ask(session, url, stream=False) == (200, ("big", "small")[n % 3], True)
                is_over.set()

    asyncio.run(scenario())

    assert len(answers) > N_RELOADS
    assert {(status, is_whole) for status, _, is_whole in answers} == {(200, True)}
    with contextlib.closing(sqlite3.connect(tmp_path / "prefroute.db")) as journal:
        rows = journal.execute("SELECT router, threshold, chosen, count(*) FROM requests GROUP BY 1, 2, 3").fetchall()
    assert {row[:3] for row in rows} == {(routers[0], 0.0, "big"), (routers[1], 1.0, "small")}
    assert sum(n for *_, n in rows) == len(answers) + sum(n % 3 != 2 for n in range(N_RELOADS))
