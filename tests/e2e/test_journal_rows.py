"""What the journal keeps of requests that were refused."""

import asyncio

import pytest
from tests.servers.gateway import CHAT, in_process, make_key, rows


@pytest.fixture(autouse=True)
def _canary(monkeypatch):
    monkeypatch.setenv("CANARY", "sk-upstream")


PICTURE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]}]


@pytest.mark.parametrize(
    ("limits", "messages", "status", "code"),
    [
        ({"routes": ["small"]}, CHAT["messages"], 403, "permission_denied"),
        ({}, PICTURE, 400, "unsupported_content"),
    ],
)
def test_a_request_that_is_refused_counts_with_the_route_that_it_named(tmp_path, limits, messages, status, code):
    _, secret = make_key(tmp_path, **limits)

    async def ask():
        async with in_process(tmp_path, "http://127.0.0.1:9/v1") as gateway:
            return await gateway.post(body={**CHAT, "messages": messages}, key=secret)

    reply = asyncio.run(ask())

    assert (reply.status, reply.error["code"]) == (status, code)
    assert [(row["route"], row["model"], row["error"]) for row in rows(tmp_path)] == [("auto", None, code)]
