"""Sends requests to one port over many connections and prints what came back, as one JSON object.

    python benchmarks/gateway_load.py --port 8000 --connections 64 --seconds 3
    python benchmarks/gateway_load.py --port 8000 --connections 64 --streams 128 --events 100

Closed loop: each connection sends its next request when the last answer is whole. Every body is different, so that no
cache of scores can help. Started by gateway.py as a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import time
from collections.abc import Iterator

import httptools
import numpy as np
import uvloop

_TEXT = (
    "explain why the order of two operations matters when integral matrix prove theorem contract tenant refund email "
    "python function returns sorted list of tuples bug stack trace capital city river history of trade melting point "
    "write a short story about lighthouse keeper translate into french summarise meeting notes velocity train leaves"
)


def bodies(model: str, n_chars: int, seed: int, is_stream: bool) -> Iterator[bytes]:
    """Request bodies without end, each with words of its own among common ones."""
    rng = np.random.default_rng(seed)
    common, n_words = _TEXT.split(), n_chars // 6
    for i in itertools.count():
        words = [common[j] for j in rng.integers(0, len(common), n_words)]
        for place in range(0, n_words, 60):  # words that nobody has seen before
            words[place] = f"x{seed}q{i}z{place}"
        body = {"model": model, "messages": [{"role": "user", "content": " ".join(words)[:n_chars]}]}
        yield json.dumps(body | ({"stream": True} if is_stream else {})).encode()


class _Client(asyncio.Protocol):
    """One connection that is never idle until `more` says no."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.parser = httptools.HttpResponseParser(self)
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        if not self.load.more():
            self.transport.close()
            return
        body = next(self.load.bodies)
        self.status, self.first, self.received = 0, 0.0, bytearray()
        self.sent = time.perf_counter()
        self.transport.write(self.load.head % len(body) + body)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.load.n_bad += 1
            self.transport.abort()  # type: ignore[attr-defined]

    def on_body(self, body: bytes) -> None:
        if not self.first:
            self.first = time.perf_counter()
        self.received += body

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        status = self.parser.get_status_code()
        text = bytes(self.received)
        self.load.n_events += text.count(b"data: ")
        whole = b"data: [DONE]" in text if self.load.is_stream else b'"choices"' in text
        if status != 200 or not whole:
            self.load.n_bad += 1
        self.load.latencies.append(now - self.sent)
        self.load.firsts.append(self.first - self.sent)
        self.parser = httptools.HttpResponseParser(self)
        # not from inside the parser: it is replaced here
        asyncio.get_running_loop().call_soon(self.send)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)


class Load:
    """What all connections share."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.is_stream = args.streams is not None
        self.head = (
            f"POST {args.path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {args.key}\r\ncontent-length: %d\r\n\r\n"
        ).encode()
        self.bodies = bodies(args.model, args.chars, args.seed, self.is_stream)
        self.latencies: list[float] = []
        self.firsts: list[float] = []
        self.n_bad = self.n_events = self.n_sent = 0
        self.end = time.perf_counter() + args.seconds
        self.most = args.streams

    def more(self) -> bool:
        """Whether another request is to be sent."""
        self.n_sent += 1
        return self.n_sent <= self.most if self.most is not None else time.perf_counter() < self.end


async def run(args: argparse.Namespace) -> dict[str, float]:
    """The whole load; the figures."""
    load = Load(args)
    loop = asyncio.get_running_loop()
    begin = time.perf_counter()
    clients = [
        (await loop.create_connection(lambda: _Client(load), "127.0.0.1", args.port))[1]
        for _ in range(args.connections)
    ]
    await asyncio.wait([client.closed for client in clients], timeout=args.seconds + 60)
    took = time.perf_counter() - begin
    ms = sorted(1e3 * latency for latency in load.latencies) or [float("nan")]
    return {
        "requests": len(load.latencies),
        "rps": round(len(load.latencies) / took, 1),
        "p50_ms": round(statistics.median(ms), 3),
        "p99_ms": round(ms[int(0.99 * (len(ms) - 1))], 3),
        "ttfb_p50_ms": round(1e3 * statistics.median(load.firsts), 3) if load.firsts else float("nan"),
        "events": load.n_events,
        "bad": load.n_bad,
    }


def main() -> None:
    """Read the command line, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/v1/chat/completions")
    parser.add_argument("--model", default="auto")
    parser.add_argument("--key", default="none")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--streams", type=int, help="this many streamed answers in all, in place of --seconds")
    parser.add_argument("--chars", type=int, default=1000, help="characters of each prompt")
    parser.add_argument("--seed", type=int, default=0)
    print(json.dumps(uvloop.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
