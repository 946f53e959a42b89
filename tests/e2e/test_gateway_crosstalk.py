"""Many clients at once on connections that are kept, pipelined and torn: every answer belongs to its question."""

from __future__ import annotations

import asyncio
import json
import random
import re
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.servers.faulty_upstream import (
    DONE,
    LAST_CHUNK,
    ROLE,
    STREAM_HEAD,
    FaultyUpstream,
    Step,
    chunk,
    completion,
    event,
    whole,
)
from tests.servers.gateway import CHAT, GatewayProcess, request, rows, write_config

N_CLIENTS = 64
N_ROUNDS = 25
NONCE = re.compile(r"nonce-\d+-\d+")


class Echo(FaultyUpstream):
    """Says what it was asked, after a moment, in pieces or whole."""

    async def _steps(self, head: str, reader: asyncio.StreamReader) -> list[Step]:
        await super()._steps(head, reader)
        body = self.requests.pop().body
        said, pause = body["messages"][-1]["content"], random.uniform(0.0, 0.01)
        if not body.get("stream"):
            return [pause, whole(200, completion(said))]
        spoken = [chunk(event({"content": piece})) for piece in (said[:7], said[7:])]
        return [
            STREAM_HEAD,
            chunk(ROLE),
            spoken[0],
            pause,
            spoken[1],
            chunk(event({}, "stop")),
            chunk(DONE),
            LAST_CHUNK,
        ]


@dataclass
class Client:
    """One connection after the other; all that it was answered.

    Attributes:
        answered: Question by the request id of its answer.
        wrong: Question and what was answered in its place.
        n_torn: Requests that it left.
    """

    port: int
    number: int
    chance: random.Random
    answered: dict[str, str] = field(default_factory=dict)
    wrong: list[tuple[str, str]] = field(default_factory=list)
    n_asked: int = 0
    n_torn: int = 0

    async def run(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for _ in range(N_ROUNDS):
            asked = [self._question() for _ in range(self.chance.choice([1, 1, 1, 2, 5]))]
            writer.write(b"".join(sent for _, sent in asked))
            if self.chance.random() < 0.25:
                await asyncio.sleep(self.chance.uniform(0.0, 0.015))  # anywhere in the answers
                self.n_torn += len(asked)
                writer.transport.abort()
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                continue
            for question, _ in asked:
                self._check(question, *await read_answer(reader))
        writer.close()
        await writer.wait_closed()

    def _question(self) -> tuple[str, bytes]:
        self.n_asked += 1
        question = f"nonce-{self.number}-{self.n_asked}"
        body: dict[str, Any] = {**CHAT, "messages": [{"role": "user", "content": question}]}
        return question, request(json.dumps({**body, "stream": self.chance.random() < 0.5}).encode())

    def _check(self, question: str, head: str, body: str) -> None:
        events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]
        said = "".join(each["choices"][0]["delta"].get("content", "") for each in events) or body
        if not head.startswith("HTTP/1.1 200") or NONCE.findall(said) != [question]:
            self.wrong.append((question, head + body))
        self.answered[head.partition("x-request-id: ")[2].split()[0]] = question


async def read_answer(reader: asyncio.StreamReader) -> tuple[str, str]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    if length := re.search(r"content-length: (\d+)", head):
        return head, (await reader.readexactly(int(length[1]))).decode()
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return head, body.decode()


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("--workers", "2")], ids=["one worker", "two workers"])
def test_no_answer_reaches_another_question(tmp_path, monkeypatch, words):
    monkeypatch.setenv("CANARY", "sk-canary")

    async def load(port: int) -> list[Client]:
        clients = [Client(port, number, random.Random(number)) for number in range(N_CLIENTS)]
        async with asyncio.timeout(300):
            await asyncio.gather(*[client.run() for client in clients])
        return clients

    with Echo() as upstream:
        path = write_config(tmp_path, upstream.base_url, journal="store_prompts: true")
        with GatewayProcess(path, *words) as gateway:
            clients = asyncio.run(load(gateway.port))
            assert gateway.stop() == 0

    assert [wrong for client in clients for wrong in client.wrong] == []
    answered = {request_id: question for client in clients for request_id, question in client.answered.items()}
    assert len(answered) == sum(client.n_asked - client.n_torn for client in clients) > N_CLIENTS * N_ROUNDS
    assert min(client.n_torn for client in clients) > 0
    prompts = {row["request_id"]: row["prompt"] for row in rows(tmp_path, "texts")}
    assert {request_id: prompts[request_id] for request_id in answered} == answered
