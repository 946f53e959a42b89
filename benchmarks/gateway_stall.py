"""How long the gateway's event loop is held up, by requests of one length after the other: prints one JSON object.

    python benchmarks/gateway_stall.py [--seconds 5]

The gateway runs as an application within this process, with keys, journal and the shipped router, on the loop that a
worker has; the stand-in upstream is a process of its own. A ticker sleeps for 1 ms over and over. `loop_busy_ms` is
processor time of the loop's thread within one tick, the steady figure on a busy machine; `loop_stall_ms` is what the
tick came late by, which other programs cause too: compare with `idle`. Median, 99th percentile and most of each.
`unscored` requests name a model, `scored` ones a route; 300 prompts take turns, one word in sixty is of its prompt
alone. One request at a time shows what one holds up, 16 at once what they do together.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from gateway_load import bodies

from prefroute.journal import create_key, open_database
from prefroute.serve.app import Gateway
from prefroute.serve.call import LINK, Link
from prefroute.serve.loading import load_runtime
from prefroute.serve.server import open_gateway

_TICK_S = 0.001
_CHARS = (1_000, 50_000)
_AT_ONCE = (1, 16)
_KINDS = {"unscored": "big", "scored": "auto"}
_PROMPTS = 300
_STAND_IN = """
import asyncio
from prefroute.serve.stand_in import StandIn
async def main():
    server = StandIn()
    await server.start()
    print(server.base_url, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
_CONFIG = """
journal: {{url: "sqlite:///journal.db"}}
models:
  big: {{base_url: "{base_url}", usd_per_mtok_in: 10, usd_per_mtok_out: 30}}
  small: {{base_url: "{base_url}", usd_per_mtok_in: 0.24, usd_per_mtok_out: 0.24}}
routes:
  auto: {{router: default, candidates: [big, small], policy: {{threshold: 0.5}}}}
"""


@contextlib.contextmanager
def _stand_in() -> Iterator[str]:
    """Its base URL."""
    process = subprocess.Popen([sys.executable, "-c", _STAND_IN], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


@contextlib.asynccontextmanager
async def _gateway(folder: Path) -> AsyncIterator[tuple[Gateway, str]]:
    """With a key."""
    engine = open_database(f"sqlite:///{folder}/journal.db")
    _, secret = create_key(engine, "load")
    engine.dispose()
    config, runtime = load_runtime(folder / "gateway.yaml")
    async with open_gateway(config, runtime) as gateway:
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 50, 100)  # as in a worker
        yield gateway, secret


async def _ask(gateway: Gateway, secret: str, body: bytes) -> int:
    """The status of one request."""
    statuses = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        statuses.append(message.get("status"))

    headers = [(b"content-type", b"application/json"), (b"authorization", f"Bearer {secret}".encode())]
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers}
    link = Link(leaving=set(), is_body_whole=True)  # as our server gives it
    await gateway({**scope, "extensions": {LINK: link}}, receive, send)
    return int(statuses[0])


async def _client(gateway: Gateway, secret: str, waiting: Iterator[bytes], until: float) -> list[int]:
    statuses = []
    while time.perf_counter() < until:
        statuses.append(await _ask(gateway, secret, next(waiting)))
    return statuses


async def _ticks(until: float) -> tuple[list[float], list[float]]:
    """Of each tick, the thread's processor time within it and what it came late by, seconds."""
    busy, late = [], []
    while (begin := time.perf_counter()) < until:
        cpu = time.thread_time()
        await asyncio.sleep(_TICK_S)
        busy.append(time.thread_time() - cpu)
        late.append(time.perf_counter() - begin - _TICK_S)
    return busy, late


def _quantiles_ms(seconds: list[float]) -> dict[str, float]:
    p50, p99, most = 1e3 * np.quantile(seconds, [0.5, 0.99, 1.0])
    return {"p50": round(p50, 2), "p99": round(p99, 2), "max": round(most, 2)}


async def _figures(
    gateway: Gateway, secret: str, seconds: float, model: str = "", n_chars: int = 0, at_once: int = 0
) -> dict[str, Any]:
    made = bodies(model, n_chars, seed=len(model), is_stream=False)
    ready = itertools.cycle([next(made) for _ in range(_PROMPTS)])
    until = time.perf_counter() + seconds
    clients = [_client(gateway, secret, ready, until) for _ in range(at_once)]
    (busy, late), answered = await asyncio.gather(_ticks(until), asyncio.gather(*clients))
    statuses = [status for each in answered for status in each]
    return {
        "loop_busy_ms": _quantiles_ms(busy),
        "loop_stall_ms": _quantiles_ms(late),
        "rps": round(len(statuses) / seconds, 1),
        "bad": sum(status != 200 for status in statuses),
    }


async def measure(seconds: float, folder: Path) -> dict[str, Any]:
    """Everything, in one run."""
    async with _gateway(folder) as (gateway, secret):
        result: dict[str, Any] = {"idle": await _figures(gateway, secret, seconds)}
        for n_chars, at_once, (kind, model) in itertools.product(_CHARS, _AT_ONCE, _KINDS.items()):
            name = f"{kind}, {n_chars} characters, {at_once} at once"
            result[name] = await _figures(gateway, secret, seconds, model, n_chars, at_once)
    return result


def main() -> None:
    """Read the command line, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each kind of request")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, _stand_in() as base_url:
        (Path(name) / "gateway.yaml").write_text(_CONFIG.format(base_url=base_url))
        print(json.dumps(uvloop.run(measure(args.seconds, Path(name)))))


if __name__ == "__main__":
    main()
