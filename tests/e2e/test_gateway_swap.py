"""Another configuration in a gateway that serves: taken over whole or not at all, and nothing stays of what is gone."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest
from tests.servers.faulty_upstream import RESET
from tests.servers.gateway import CHAT, InProcess, write_config

from prefroute.serve.loading import load_runtime
from prefroute.serve.runtime import Runtime
from prefroute.serve.server import open_gateway

NO_HOST = "http://" + "ä" * 70 + ".example/v1"  # a label of a host has 63 bytes at most


def with_model(runtime: Runtime, name: str, base_url: str) -> Runtime:
    """The same, and one model at another address."""
    model = replace(runtime.models["big"], name=name, base_url=base_url)
    return replace(runtime, models={**runtime.models, name: model}, digest="another")


def test_a_swap_that_fails_halfway_changes_nothing(serving, upstream):
    async def scenario(running: InProcess) -> None:
        gateway, before = running.gateway, running.gateway.state.runtime
        upstream.always(RESET)
        for _ in range(5):
            await running.post(body={**CHAT, "model": "big"})
        assert gateway.state.upstreams.is_open("big")

        with pytest.raises(UnicodeError):
            gateway.swap(gateway.state.config, with_model(before, "new", NO_HOST))

        assert gateway.state.runtime is before
        assert gateway.state.upstreams.is_open("big")
        assert (await running.get("/readyz")).json["configuration"] == before.digest[:12]
        assert (await running.post(body={**CHAT, "model": "new"})).status == 404

    serving(scenario)


def test_a_model_that_a_reload_takes_away_is_not_shown_as_left_alone_for_ever(serving, upstream):
    async def scenario(running: InProcess) -> list[bool]:
        gateway, before = running.gateway, running.gateway.state.runtime
        gateway.swap(gateway.state.config, with_model(before, "old", upstream.base_url))
        upstream.always(RESET)
        for _ in range(5):
            await running.post(body={**CHAT, "model": "old"})
        pages = [(await running.get("/metrics")).body]
        gateway.swap(gateway.state.config, before)
        pages.append((await running.get("/metrics")).body)
        return [b'prefroute_upstream_open{model="old"} 1.0' in page for page in pages]

    assert serving(scenario) == [True, False]


def test_a_gateway_that_cannot_be_opened_leaves_no_journal_open(tmp_path, monkeypatch):
    monkeypatch.setenv("CANARY", "sk-canary")
    config, runtime = load_runtime(write_config(tmp_path, "http://127.0.0.1:1/v1"))

    before = set(threading.enumerate())

    async def over() -> None:
        async with open_gateway(config, with_model(runtime, "new", NO_HOST)):
            pass

    with pytest.raises(UnicodeError):
        asyncio.run(over())

    assert not [thread for thread in set(threading.enumerate()) - before if "journal" in thread.name]
