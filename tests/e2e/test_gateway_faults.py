"""Every fault of an upstream, through the gateway: what the client sees, and what the journal holds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.servers.asking import KEY
from tests.servers.faulty_upstream import DONE, FaultyUpstream, Step
from tests.servers.gateway import CHAT, InProcess, Reply, in_process, rows
from tests.servers.upstream_faults import COMPLETE, FAULTS, MID_STREAM

from prefroute.serve.runtime import Deadlines, Runtime

FALLEN_BACK = "with a fallback"
ALONE = "alone"


@dataclass(frozen=True)
class Seen:
    """One request: what the client got, its row, and the outcomes of its attempts."""

    reply: Reply
    row: Mapping[str, Any]
    outcomes: list[str]

    @property
    def events(self) -> list[Any]:
        blocks = self.reply.body.replace(b"\r\n", b"\n").split(b"\n\n")
        return [json.loads(block[6:]) for block in blocks if block.startswith(b"data: {") and block.endswith(b"}")]

    @property
    def text(self) -> str:
        if self.reply.headers["content-type"] == "application/json":
            return str(self.reply.json["choices"][0]["message"]["content"])
        return "".join(c["delta"].get("content", "") for e in self.events for c in e.get("choices", ()))


PATIENT = Deadlines(connect_s=30.0, first_token_s=30.0, answer_s=30.0, idle_s=30.0, total_s=60.0)
HASTY = Deadlines(connect_s=30.0, first_token_s=1.5, answer_s=1.5, idle_s=1.5, total_s=60.0)
SILENT = {"silence", "silence after the finish_reason"} | {
    name for name, fault in FAULTS.items() if fault.code == "upstream_timeout"
}


@dataclass(frozen=True)
class Wanted:
    """What is asked for, and what the upstream makes of it."""

    name: str
    is_stream: bool
    steps: list[Step]


WANTED = {
    **{name: Wanted(name, fault.is_stream, fault.steps) for name, fault in FAULTS.items()},
    **{name: Wanted(name, True, steps) for name, steps in {**MID_STREAM, **COMPLETE}.items()},
}


def with_models_that_fail(runtime: Runtime) -> Runtime:
    """Two models for each thing that is wanted: one alone, and one with a route from it to `small`, which is well.

    Each has faults of its own, so that no circuit opens.
    """
    auto, big = runtime.routes["auto"], runtime.models["big"]
    models, routes = dict(runtime.models), dict(runtime.routes)
    for name in WANTED:
        deadlines = HASTY if name in SILENT else PATIENT
        for how in (ALONE, FALLEN_BACK):
            model = f"{name}, {how}"
            models[model] = replace(big, name=model, upstream_name=name, deadlines=deadlines)
        candidates = (model, "small")
        routes[name] = replace(auto, name=name, candidates=candidates, strong=model, fallbacks=candidates)
    return replace(runtime, models=models, routes=routes)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Seen]:
    """Everything that is wanted, by name and by whether there was a fallback."""
    folder = tmp_path_factory.mktemp("gateway")
    replies: dict[tuple[str, str], Reply] = {}
    few = asyncio.Semaphore(16)

    async def ask(gateway: InProcess, wanted: Wanted, how: str) -> None:
        model = f"{wanted.name}, {ALONE}" if how == ALONE else wanted.name
        async with few:
            replies[wanted.name, how] = await gateway.post(body={**CHAT, "stream": wanted.is_stream, "model": model})

    async def over(upstream: FaultyUpstream) -> None:
        async with in_process(folder, upstream.base_url) as running:
            gateway = running.gateway
            gateway.swap(gateway.state.config, with_models_that_fail(gateway.state.runtime))
            await asyncio.gather(*[ask(running, each, how) for each in WANTED.values() for how in (ALONE, FALLEN_BACK)])

    with FaultyUpstream() as upstream, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CANARY", KEY)
        for name, each in WANTED.items():
            upstream.whenever(name, *each.steps)
        asyncio.run(over(upstream))
    return joined(folder, replies)


def joined(folder: Path, replies: Mapping[tuple[str, str], Reply]) -> dict[tuple[str, str], Seen]:
    """Replies with what the journal holds of them."""
    by_id = {row["request_id"]: row for row in rows(folder)}
    outcomes: dict[str, list[str]] = {request_id: [] for request_id in by_id}
    for attempt in rows(folder, "attempts"):
        outcomes[attempt["request_id"]].append(attempt["outcome"])
    assert len(by_id) == len(replies)  # one row for each, and no other
    ids = {key: reply.headers["x-request-id"] for key, reply in replies.items()}
    return {key: Seen(reply, by_id[ids[key]], outcomes[ids[key]]) for key, reply in replies.items()}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_no_model_can_hide_is_an_error_to_the_client_and_in_its_row(seen, name):
    fault, one = FAULTS[name], seen[name, ALONE]

    assert (one.reply.status, one.reply.error["code"]) == (fault.status, fault.code)
    assert set(one.reply.error) == {"message", "type", "param", "code"}
    assert one.reply.headers["content-type"] == "application/json"
    assert (one.reply.headers.get("x-should-retry") == "false") == (fault.status != 429)
    assert KEY.encode() not in one.reply.body
    assert (one.row["status"], one.row["error"]) == (fault.status, fault.code)
    assert (one.row["tokens_out"], one.row["cost_usd"], one.row["running_in"]) == (None, None, None)
    assert set(one.outcomes) == {fault.code}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_another_model_hides_is_seen_in_the_attempts_alone(seen, name):
    fault, one = FAULTS[name], seen[name, FALLEN_BACK]

    assert (one.reply.status, one.text) == (200, "Hello")
    assert one.reply.headers["x-prefroute-model"] == "small"
    assert one.reply.body.endswith(DONE) == fault.is_stream
    assert (one.row["status"], one.row["error"], one.row["model"]) == (200, None, "small")
    assert (one.row["tokens_in"], one.row["tokens_out"]) == (7, 2)
    assert one.outcomes == [fault.code, "ok"]


@pytest.mark.parametrize("how", [ALONE, FALLEN_BACK])
@pytest.mark.parametrize("name", MID_STREAM)
def test_a_fault_after_the_first_words_is_told_within_the_stream_and_in_its_row(seen, name, how):
    one = seen[name, how]

    assert one.reply.status == 200
    assert one.text.startswith("Hel")
    assert one.events[-1]["error"]["code"] == "upstream_stream_error"
    assert b"[DONE]" not in one.reply.body
    assert (one.row["status"], one.row["error"]) == (200, "upstream_stream_error")
    assert one.row["model"] == f"{name}, {how}"
    assert one.row["tokens_out"] > 0  # which have to be paid for
    assert one.outcomes == ["upstream_stream_error"]


@pytest.mark.parametrize("name", COMPLETE)
def test_what_only_looks_like_a_fault_is_a_whole_answer_to_the_client_and_in_its_row(seen, name):
    one = seen[name, ALONE]

    assert (one.reply.status, one.text) == (200, "Hello")
    assert one.reply.body.endswith(DONE)
    assert one.reply.body.count(b"[DONE]") == 1
    assert (one.row["status"], one.row["error"]) == (200, None)
    assert one.outcomes == ["ok"]
