"""What the gateway's memory does over many requests: prints one JSON object.

    python benchmarks/gateway_memory.py [--requests 30000] [--warm-up 5000] [--connections 64]

For each kind a fresh gateway (keys, routing with the shipped router, journal) in front of a stand-in upstream: `ok` are
whole answers; `failing` has an upstream of which every fifth answer is an error, so that another model answers;
`streaming` are streams that are read to their end; `leaving` are streams whose clients go away after the first piece;
`new_words` are whole answers to prompts that each hold a word which was never seen before, as the others do not: what
is known of words is kept, up to a bound. `attempts_not_ok` says that attempts failed or were left. Memory is the
resident set in MB, after the warm-up and at the end; prompts are all different.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

from prefroute.serve.stand_in import StandIn

_CONFIG = """
server: {{port: 0}}
journal: {{url: "sqlite:///journal.db"}}
models:
  big: {{base_url: "{big}", usd_per_mtok_in: 10, usd_per_mtok_out: 30}}
  small: {{base_url: "{small}", usd_per_mtok_in: 1, usd_per_mtok_out: 2}}
routes:
  auto: {{router: default, candidates: [big, small], policy: {{threshold: 0}}}}
"""
_PROGRAM = [sys.executable, "-m", "prefroute"]
_FIFTH = 5  # more failures than a quarter, and the model is left alone
_PIECE_S = 0.005
_WORDS = ("contract", "glacier", "lighthouse", "matrix", "parliament", "poem", "recipe", "refund", "tenant", "velocity")


@contextlib.contextmanager
def _gateway(folder: Path, big: str, small: str) -> Iterator[tuple[int, str, str]]:
    """Its process id, address and key."""
    config = folder / "gateway.yaml"
    config.write_text(_CONFIG.format(big=big, small=small))
    made = subprocess.run(
        [*_PROGRAM, "keys", "create", str(config), "load"], capture_output=True, check=True, text=True
    )
    log = folder / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen([*_PROGRAM, "serve", str(config)], stderr=stream)
    try:
        while not (listening := re.search(r"Listening on (http://\S+?:\d+)", log.read_text())):
            if process.poll() is not None:
                raise SystemExit(f"The gateway did not start: {log.read_text()}")
            time.sleep(0.05)
        yield process.pid, listening[1], made.stdout.split()[-1]
    finally:
        process.terminate()
        process.wait(30)


def _rss_mb(pid: int) -> float:
    found = re.search(r"^VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


async def _ask(session: aiohttp.ClientSession, url: str, n: int, kind: str) -> None:
    words = [_WORDS[n // len(_WORDS) ** (i % 5) % len(_WORDS)] for i in range(100)]
    if kind == "new_words":
        words[0] = f"x{n}"
    body = {"model": "auto", "messages": [{"role": "user", "content": " ".join(words)}]}
    is_stream = kind in ("streaming", "leaving")
    async with session.post(url, json={**body, "stream": is_stream}) as answer:
        if kind == "leaving":
            await answer.content.readany()
            answer.close()
            return
        said = await answer.read()
        if answer.status != 200 or (b"[DONE]" if is_stream else b"choices") not in said:
            raise SystemExit(f"A bad answer: {answer.status} {said[:200]!r}")


async def _measure(kind: str, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    interval_s = _PIECE_S if kind == "leaving" else 0.0
    async with StandIn(interval_s=interval_s, fail_every=_FIFTH if kind == "failing" else 0) as big, StandIn() as small:
        with _gateway(folder, big.base_url, small.base_url) as (pid, address, key):
            headers = {"authorization": f"Bearer {key}"}
            connector = aiohttp.TCPConnector(limit=args.connections)
            async with aiohttp.ClientSession(headers=headers, connector=connector) as session:

                async def ask_on(numbers: Iterator[int]) -> None:
                    for n in numbers:
                        await _ask(session, f"{address}/v1/chat/completions", n, kind)

                async def ask_all(begin: int, end: int) -> float:
                    numbers = iter(range(begin, end))
                    await asyncio.gather(*(ask_on(numbers) for _ in range(args.connections)))
                    return round(_rss_mb(pid), 1)

                begin = _rss_mb(pid)
                step = args.requests // 6
                stops = [0, *range(args.warm_up, args.warm_up + args.requests + 1, step)]
                course = [await ask_all(*stretch) for stretch in itertools.pairwise(stops)]
    query = "SELECT count(DISTINCT request_id), count(*) FILTER (WHERE outcome <> 'ok') FROM attempts"
    with contextlib.closing(sqlite3.connect(folder / "journal.db")) as journal:
        n_rows, n_failed = journal.execute(query).fetchone()
    return {
        "requests": n_rows,
        "attempts_not_ok": n_failed,
        "begin_mb": round(begin, 1),
        "start_mb": course[0],
        "end_mb": course[-1],
        "growth_mb": round(course[-1] - course[0], 1),
        "course_mb": course,
    }


def main() -> None:
    """Read the command line, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=30_000)
    parser.add_argument("--warm-up", type=int, default=5_000)
    parser.add_argument("--connections", type=int, default=64)
    args = parser.parse_args()
    result: dict[str, Any] = {"requests": args.requests, "warm_up": args.warm_up}
    for kind in ("ok", "failing", "streaming", "leaving", "new_words"):
        with tempfile.TemporaryDirectory() as folder:
            result[kind] = asyncio.run(_measure(kind, args, Path(folder)))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
