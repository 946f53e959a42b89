"""One request through `Upstreams`, and everything that is seen of it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

import uvloop

from prefroute.journal import AttemptRow
from prefroute.serve.faults import Fault
from prefroute.serve.runtime import Deadlines, Model
from prefroute.serve.upstream import Answer, Upstreams

KEY = "sk-canary-0123456789"
BODY = {"model": "auto", "messages": [{"role": "user", "content": "hi"}], "seed": 3}
SHORT = Deadlines(connect_s=0.4, first_token_s=0.4, answer_s=0.4, idle_s=0.4, total_s=3.0)


def model_of(name, base_url, deadlines=None, **more):
    """Patient with the model that is called "good", so that a busy machine does not matter."""
    deadlines = deadlines or (Deadlines() if name == "good" else SHORT)
    return Model(name, f"up-{name}", base_url, {"authorization": f"Bearer {KEY}"}, deadlines=deadlines, **more)


@dataclass
class Seen:
    """What came of one request."""

    attempts: list[AttemptRow] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    answer: Answer | None = None
    fault: Fault | None = None

    @property
    def outcomes(self) -> list[str]:
        return [attempt.outcome for attempt in self.attempts]

    @property
    def plain(self) -> bytes:
        """The stream with its line ends made one kind."""
        return b"".join(self.pieces).replace(b"\r\n", b"\n")

    @property
    def text(self) -> str:
        """What a client reads out of the answer."""
        if self.answer is not None and self.answer.body is not None:
            return str(json.loads(self.answer.body)["choices"][0]["message"]["content"])
        events = [json.loads(block[6:]) for block in self.plain.split(b"\n\n") if b"{" in block]
        return "".join(c["delta"].get("content", "") for e in events for c in e["choices"])


async def ask(upstreams, *order, is_stream=False, path="chat/completions", **fields) -> Seen:
    seen = Seen()
    body = {**BODY, **fields, "stream": is_stream} if is_stream or fields else BODY
    try:
        seen.answer = await upstreams.send(order, path, body, is_stream=is_stream, attempts=seen.attempts)
        if seen.answer.body is None:
            async for piece in seen.answer.events():
                seen.pieces.append(piece)
    except Fault as fault:
        seen.fault = fault
    finally:
        if seen.answer is not None:
            await seen.answer.aclose()
    return seen


def asked(*models, is_stream=False, order=None, **more):
    """One request on a loop of its own."""

    async def main():
        upstreams = Upstreams({model.name: model for model in models})
        try:
            return await ask(upstreams, *(order or [m.name for m in models]), is_stream=is_stream, **more)
        finally:
            await upstreams.close()
            await asyncio.sleep(0)

    return uvloop.run(main())
