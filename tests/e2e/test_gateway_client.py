"""OpenAI's client over a gateway within the process."""

from __future__ import annotations

import asyncio

import httpx2
import openai
import pytest
from tests.servers.faulty_upstream import HELLO, STALL, FaultyUpstream, stream
from tests.servers.gateway import CHAT, in_process, write_config
from tests.waiting import eventually

from prefroute.errors import ConfigError
from prefroute.serve.client import Local, async_openai_client
from prefroute.serve.socketless import ask


@pytest.fixture(autouse=True)
def _canary(monkeypatch):
    monkeypatch.setenv("CANARY", "sk-canary")


def test_a_client_without_an_event_loop_is_answered_and_refused(tmp_path):
    with FaultyUpstream() as upstream:
        path = write_config(tmp_path, upstream.base_url)
        with Local(path) as local, local.openai_client() as client:
            whole = client.chat.completions.create(**CHAT)
            streamed = list(client.chat.completions.create(**CHAT, stream=True))
            with pytest.raises(openai.NotFoundError):
                client.chat.completions.create(**{**CHAT, "model": "nobody"})

    assert whole.choices[0].message.content == "Hello"
    assert "".join(part.choices[0].delta.content or "" for part in streamed if part.choices) == "Hello"


def test_a_client_on_the_loop_of_the_gateway_is_answered(tmp_path):
    async def over(base_url):
        async with in_process(tmp_path, base_url) as running, async_openai_client(running.gateway) as client:
            answers = await asyncio.gather(*[client.chat.completions.create(**CHAT) for _ in range(5)])
            return [answer.choices[0].message.content for answer in answers]

    with FaultyUpstream() as upstream:
        assert asyncio.run(over(upstream.base_url)) == ["Hello"] * 5


def test_the_first_piece_comes_before_the_last_and_leaving_ends_the_upstreams_answer(tmp_path):
    with FaultyUpstream() as upstream:
        upstream.does(*stream(*HELLO[:2], ends=False), STALL)
        with Local(write_config(tmp_path, upstream.base_url)) as local, local.openai_client() as client:
            with client.chat.completions.create(**CHAT, stream=True) as answer:
                said = [next(answer).choices[0].delta.content for _ in range(2)]
            eventually(lambda: upstream.left_at is not None)

    assert said == ["", "Hel"]


def test_a_client_on_the_loop_gets_pieces_too_and_may_leave(tmp_path):
    async def over(base_url):
        said = []
        async with in_process(tmp_path, base_url) as running, async_openai_client(running.gateway) as client:
            async with await client.chat.completions.create(**CHAT, stream=True) as answer:
                async for part in answer:
                    said.append(part.choices[0].delta.content)
                    if len(said) == 2:
                        break
            whole = await client.chat.completions.create(**CHAT)
        return said, whole.choices[0].message.content

    with FaultyUpstream() as upstream:
        upstream.does(*stream(*HELLO[:2], ends=False), STALL)
        assert asyncio.run(over(upstream.base_url)) == (["", "Hel"], "Hello")


def test_a_slow_reader_holds_up_an_app_and_an_app_that_fails_is_heard():
    sent = []

    async def app(scope, receive, send):
        assert (await receive())["body"] == b"question"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for i in range(9):
            await send({"type": "http.response.body", "body": b"%d" % i, "more_body": True})
            sent.append(i)
        raise ValueError("in the middle")

    async def read():
        coming = await ask(app, "POST", httpx2.URL("http://x/y?z=1"), [(b"A", b"b")], b"question")
        first = await coming.next()
        await asyncio.sleep(0.01)
        n_ahead = len(sent)
        with pytest.raises(ValueError, match="in the middle"):
            [piece async for piece in coming]
        return coming.status, first, n_ahead

    assert asyncio.run(read()) == (200, b"0", 2)


def test_an_app_that_fails_before_it_answers_is_heard():
    async def app(scope, receive, send):
        raise ValueError(scope["query_string"].decode())

    with pytest.raises(ValueError, match="z=1"):
        asyncio.run(ask(app, "GET", httpx2.URL("http://x/y?z=1"), [], b""))


def test_a_file_that_is_wrong_leaves_no_thread_behind(tmp_path):
    (tmp_path / "gateway.yaml").write_text("models: {}")

    with pytest.raises(ConfigError), Local(tmp_path / "gateway.yaml"):
        pass
