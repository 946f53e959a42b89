"""Clients that keep asking, and remember exactly what they were told."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from prefroute.prompts import prompt_hash

DONE = b"data: [DONE]\n\n"


@dataclass
class Load:
    """Asks one question after the other, every one different; half of the answers are streamed.

    Attributes:
        answered: Request id -> the hash of its question, for every answer whose last byte has come.
        statuses: Of all answers.
        broken: Answers that began and did not end in order.
    """

    answered: dict[str, str] = field(default_factory=dict)
    statuses: set[int] = field(default_factory=set)
    broken: int = 0
    _numbers: Any = field(default_factory=itertools.count)

    async def ask_on(self, url: str, session: aiohttp.ClientSession) -> None:
        """Until it is cancelled, or the gateway has gone."""
        while True:
            try:
                await self.ask(url, session)
            except (aiohttp.ClientError, ConnectionError):
                return

    async def ask(self, url: str, session: aiohttp.ClientSession) -> bytes:
        """One question; what came back."""
        n = next(self._numbers)
        question = f"What is {n} + 2?"
        body = {"model": "auto", "messages": [{"role": "user", "content": question}], "stream": n % 2 == 0}
        async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
            said = await answer.read()
            self.statuses.add(answer.status)
            if body["stream"] and not said.endswith(DONE):
                self.broken += 1
            elif answer.status == 200:
                self.answered[answer.headers["x-request-id"]] = prompt_hash(question)
            return said


async def many(load: Load, url: str, session: aiohttp.ClientSession, n_clients: int) -> None:
    """Let clients ask until the gateway has gone."""
    await asyncio.gather(*(load.ask_on(url, session) for _ in range(n_clients)))
