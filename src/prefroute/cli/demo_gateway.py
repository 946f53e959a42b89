"""The demo's gateway: the real program in a process of its own, before two stand-ins for paid models on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefroute.errors import UpstreamError

if TYPE_CHECKING:
    import aiohttp

__all__ = ["ROUTE", "STRONG", "WEAK", "DemoGateway", "running_gateway"]

ROUTE = "auto"
STRONG, WEAK = "strong-stand-in", "weak-stand-in"
_START_S = 30.0
_STOP_S = 20.0
# The pair of the paper lends its prices to the stand-ins.
_PRICED_AS = {STRONG: "gpt-4-1106-preview", WEAK: "mixtral-8x7b-instruct-v0.1"}
_CONFIG = """\
# A gateway before two stand-ins, written by `prefroute demo`.
server: {{port: {port}, drain_s: 5}}
journal: {{url: sqlite:///journal.db}}
models:
{models}
routes:
  {route}:
    router: default
    candidates: [{strong}, {weak}]
"""


@dataclass(frozen=True, slots=True)
class DemoGateway:
    """A gateway that listens.

    Attributes:
        base_url: What an OpenAI client is pointed at.
        config: Its configuration file, in a folder that also holds its journal.
        session: An HTTP client.
        process: The gateway's.
    """

    base_url: str
    config: Path
    session: aiohttp.ClientSession
    process: asyncio.subprocess.Process

    async def until_stopped(self) -> None:
        """Wait for SIGTERM, or for the gateway to end by itself; Ctrl-C comes as a cancellation."""
        told = asyncio.Event()
        with contextlib.suppress(NotImplementedError):  # Windows
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
        waiting = {asyncio.create_task(told.wait()), asyncio.create_task(self.process.wait())}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    async def ask(self, prompt: str) -> Mapping[str, str]:
        """The headers of an answer to one prompt."""
        async with self.session.post(f"{self.base_url}/chat/completions", json=_body(prompt)) as answer:
            if answer.status != 200:
                raise UpstreamError(f"The gateway answered {answer.status}: {await answer.text()}")
            await answer.read()
            return answer.headers

    async def stream(self, prompt: str) -> AsyncIterator[str]:
        """The pieces of a streamed answer, as they come."""
        body = _body(prompt) | {"stream": True}
        async with self.session.post(f"{self.base_url}/chat/completions", json=body) as answer:
            async for line in answer.content:
                if line.startswith(b"data: {"):
                    event = json.loads(line.removeprefix(b"data: "))
                    if "error" in event:
                        raise UpstreamError(f"The stream broke: {event['error']['message']}")
                    yield event["choices"][0]["delta"].get("content", "")

    async def decision(self, prompt: str) -> dict[str, Any]:
        """What `/v1/route` says about a prompt: nothing is asked of a model."""
        async with self.session.post(f"{self.base_url}/route", json=_body(prompt)) as answer:
            answer.raise_for_status()
            found: dict[str, Any] = await answer.json()
            return found


def _body(prompt: str) -> dict[str, Any]:
    return {"model": ROUTE, "messages": [{"role": "user", "content": prompt}]}


@asynccontextmanager
async def running_gateway(folder: Path, port: int = 0) -> AsyncIterator[DemoGateway]:
    """Start both stand-ins and the gateway; stop them in the end.

    Args:
        folder: Gets the configuration and the journal.
        port: Of the gateway; 0 takes a free one.

    Raises:
        UpstreamError: If the gateway does not get ready, or does not stop cleanly.
    """
    import aiohttp

    from prefroute.serve.stand_in import StandIn

    async with AsyncExitStack() as stack:
        stand_ins = {name: await stack.enter_async_context(StandIn(interval_s=0.05)) for name in (STRONG, WEAK)}
        port = port or _free_port()
        config = folder / "gateway.yaml"
        models = "\n".join(f"  {name}: {_model(name, stand_in.base_url)}" for name, stand_in in stand_ins.items())
        config.write_text(_CONFIG.format(port=port, models=models, route=ROUTE, strong=STRONG, weak=WEAK))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        log = stack.enter_context((folder / "gateway.log").open("wb"))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "prefroute", "serve", str(config), stdout=log, stderr=log
        )
        try:
            gateway = DemoGateway(f"http://127.0.0.1:{port}/v1", config, session, process)
            await _ready(gateway, process)
            yield gateway
        finally:
            code = await _stopped(process)
        if code:
            raise UpstreamError(f"The gateway ended with exit code {code}. Its last words: {_last_words(folder)}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _model(name: str, base_url: str) -> str:
    from prefroute.prices import PRICES

    price = PRICES[_PRICED_AS[name]]
    return json.dumps(
        {"base_url": base_url, "usd_per_mtok_in": price.usd_per_mtok_in, "usd_per_mtok_out": price.usd_per_mtok_out}
    )


async def _ready(gateway: DemoGateway, process: asyncio.subprocess.Process) -> None:
    import aiohttp

    url = f"{gateway.base_url.removesuffix('/v1')}/readyz"
    until = asyncio.get_running_loop().time() + _START_S
    while process.returncode is None and asyncio.get_running_loop().time() < until:
        try:
            async with gateway.session.get(url) as answer:
                if answer.status == 200:
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.02)
    raise UpstreamError(f"The gateway did not get ready. Its last words: {_last_words(gateway.config.parent)}")


async def _stopped(process: asyncio.subprocess.Process) -> int:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()
    return process.returncode or 0


def _last_words(folder: Path) -> str:
    return (folder / "gateway.log").read_text(errors="replace")[-500:] or "(none)"
