"""The gateway for tests: within the process as an ASGI application, or as a process of its own.

The package is imported only where it is used: the clients' environment (`make clients`) has none, and runs the gateway
with the python of `.venv`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from prefroute.journal import Key
    from prefroute.serve.app import Gateway

PYTHON = (
    sys.executable if importlib.util.find_spec("prefroute") else str(Path(__file__).parents[2] / ".venv/bin/python")
)
TEXT = """\
server: {{port: 0, drain_s: 2, {server}}}
journal: {{url: "sqlite:///journal.db", {journal}}}
models:
  big: {{base_url: "{big}", model: upstream-big, api_key: "${{CANARY}}", usd_per_mtok_in: 10,
         usd_per_mtok_out: 30, {model}}}
  small: {{base_url: "{small}", usd_per_mtok_in: 1, usd_per_mtok_out: 2, {model}}}
routes:
  auto: {{router: router, candidates: [big, small], policy: {{threshold: 0}}, deadline_ms: 5000, {route}}}
"""
"""Everything goes to `big`, and to `small` when that fails."""


def write_config(
    folder: Path,
    big: str,
    small: str | None = None,
    *,
    server: str = "",
    journal: str = "",
    model: str = "",
    route: str = "",
) -> Path:
    """A configuration file in a folder, with a router beside it."""
    if not (folder / "router").exists():
        from prefroute.checkpoint import save_checkpoint
        from prefroute.routers.length import Length
        from prefroute.testing import tiny_outcomes

        save_checkpoint(Length("big", "small").fit(tiny_outcomes()), folder / "router")
    path = folder / "gateway.yaml"
    text = TEXT.format(big=big, small=small or big, server=server, journal=journal, model=model, route=route)
    path.write_text(text.replace(", }", "}"), encoding="utf-8")
    return path


def make_key(folder: Path, name: str = "test", **limits: Any) -> tuple[Key, str]:
    from prefroute.journal import create_key, open_database

    engine = open_database(f"sqlite:///{folder / 'journal.db'}")
    try:
        return create_key(engine, name, **limits)
    finally:
        engine.dispose()


def rows(folder: Path, table: str = "requests") -> list[dict[str, Any]]:
    """The rows of a table of the journal, oldest first."""
    order = "request_id, n" if table == "attempts" else "request_id"
    with contextlib.closing(sqlite3.connect(folder / "journal.db")) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"select * from {table} order by {order}")]


@dataclass
class Reply:
    """What an ASGI application sent."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_whole: bool = False

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.json["error"]
        return error


CANARY = "sk-canary-of-the-upstream"
"""The key of the model `big`, in the environment variable of the same name."""

CHAT: Mapping[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "What is 2 + 2?"}]}
JSON_HEADERS = {"content-type": "application/json"}


@dataclass
class InProcess:
    """A gateway that is called as a function."""

    gateway: Gateway
    folder: Path

    async def post(self, path: str = "/v1/chat/completions", body: Any = CHAT, **more: Any) -> Reply:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.ask("POST", path, [content], **more)

    async def get(self, path: str, **more: Any) -> Reply:
        return await self.ask("GET", path, [b""], **more)

    async def ask(
        self,
        method: str,
        path: str,
        pieces: Sequence[bytes | float],
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        leaves: asyncio.Event | None = None,
        reply: Reply | None = None,
    ) -> Reply:
        """One request; `pieces` are of its body, or seconds to wait; `leaves` is when the client goes away."""
        sent = dict(JSON_HEADERS if headers is None else headers)
        if key is not None:
            sent["authorization"] = f"Bearer {key}"
        reply = Reply() if reply is None else reply
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        }
        left = list(pieces)

        async def receive() -> dict[str, Any]:
            while left:
                piece = left.pop(0)
                if isinstance(piece, bytes):
                    return {"type": "http.request", "body": piece, "more_body": bool(left)}
                await asyncio.sleep(piece)
            await (leaves or asyncio.Event()).wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                assert not reply.status
                reply.status = message["status"]
                reply.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                assert not reply.is_whole
                reply.body += message["body"]
                reply.is_whole = not message["more_body"]

        await self.gateway(scope, receive, send)
        return reply


@contextlib.asynccontextmanager
async def in_process(folder: Path, big: str, small: str | None = None, **sections: str) -> AsyncIterator[InProcess]:
    from prefroute.serve.loading import load_runtime
    from prefroute.serve.server import open_gateway

    config, runtime = load_runtime(write_config(folder, big, small, **sections))
    async with open_gateway(config, runtime) as gateway:
        yield InProcess(gateway, folder)


class GatewayProcess:
    """`prefroute serve` as a user runs it; use as a context manager.

    Attributes:
        port: Where it listens.
    """

    def __init__(self, path: Path, *words: str) -> None:
        self.folder = path.parent
        self.path = path
        self._log = path.parent / "log"
        self._words = [PYTHON, "-m", "prefroute", "serve", str(path), *words]

    def __enter__(self) -> GatewayProcess:
        listening = r"Listening on http://[^\s\"]*:(\d+)"  # within its line: another's may follow
        with self._log.open("ab") as log:
            earlier = len(re.findall(listening, self.log))  # of processes before this one
            self.process = subprocess.Popen(self._words, stderr=log, stdout=log)
        self.port = int(self.wait_for(listening, earlier + 1)[1])
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def wait_for(self, pattern: str, count: int = 1, seconds: float = 60) -> re.Match[str]:
        """The last of `count` places in the log that match."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            written = self.log
            found = list(re.finditer(pattern, written[: written.rfind("\n") + 1]))  # a line may be half written
            if len(found) >= count:
                return found[count - 1]
            assert self.process.poll() is None, self.log
            time.sleep(0.02)
        raise AssertionError(f"not in time: {pattern}\n{self.log[-3000:]}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code after a signal."""
        self.process.send_signal(number)
        return self.process.wait(30)

    def connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def raw(self, *pieces: bytes) -> bytes:
        """What comes back for bytes, until the gateway closes the connection or says nothing for a second."""
        with self.connect() as sock:
            for piece in pieces:
                with contextlib.suppress(ConnectionError):
                    sock.sendall(piece)
            return read_all(sock)


@contextlib.contextmanager
def serving(folder: Path, base_url: str, **sections: str) -> Iterator[GatewayProcess]:
    """A gateway of its own process before one upstream; the upstream's key is in the environment as long as it runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CANARY", "sk-canary")
        with GatewayProcess(write_config(folder, base_url, **sections)) as made:
            yield made


def read_all(sock: socket.socket, silence_s: float = 1.0) -> bytes:
    sock.settimeout(silence_s)
    got = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        while piece := sock.recv(65536):
            got += piece
    return got


def statuses(raw: bytes) -> list[int]:
    """Of the answers in what a gateway sent, in order."""
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d+)", raw)]


def request(body: bytes, *headers: str, path: str = "/v1/chat/completions", method: str = "POST") -> bytes:
    """The bytes of one request."""
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", "content-type: application/json", *headers]
    return "\r\n".join([*lines, f"content-length: {len(body)}"]).encode() + b"\r\n\r\n" + body
