"""OpenAI's client over a gateway within the process."""

from __future__ import annotations

import asyncio

import openai
import pytest
from tests.servers.faulty_upstream import FaultyUpstream
from tests.servers.gateway import CHAT, in_process, write_config

from prefroute.errors import ConfigError
from prefroute.serve.client import Local, async_openai_client


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


def test_a_file_that_is_wrong_leaves_no_thread_behind(tmp_path):
    (tmp_path / "gateway.yaml").write_text("models: {}")

    with pytest.raises(ConfigError), Local(tmp_path / "gateway.yaml"):
        pass
