"""RouteLLM's Controller: the calls of its README, against a stand-in for both models."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.servers.faulty_upstream import HELLO, STALL, FaultyUpstream, stream
from tests.waiting import eventually

from prefroute.checkpoint import save_checkpoint
from prefroute.errors import CheckpointError, ConfigError, UpstreamUnavailable
from prefroute.routers.length import Length
from prefroute.serve.controller import Controller
from prefroute.serve.stand_in import StandIn
from prefroute.testing import tiny_outcomes

HARD = [{"role": "user", "content": "x" * 3000}]


@pytest.fixture(scope="module")
def stand_in() -> Iterator[str]:
    """Base URL of a stand-in on a loop of its own: the controller's callers block theirs."""
    loop = asyncio.new_event_loop()
    server = StandIn(n_events=4)
    loop.run_until_complete(server.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield server.base_url
    asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "length"
    save_checkpoint(Length("big", "small").fit(tiny_outcomes()), folder)
    return folder


@pytest.fixture
def controller(stand_in: str, folder: Path) -> Iterator[Controller]:
    with Controller(
        routers=["mf"],
        strong_model="gpt-4",
        weak_model="mixtral",
        config={"mf": {"checkpoint_path": str(folder)}},
        api_base=stand_in,
        api_key="a-key",
    ) as made:
        yield made


def said(text: str) -> str:
    return f"This is the stand-in for {text}. A real model would answer here."


def test_the_first_example_of_routellms_readme_runs(controller):
    response = controller.chat.completions.create(
        model="router-mf-0.0", messages=[{"role": "user", "content": "Hello!"}], temperature=0.5
    )

    assert response.choices[0].message.content == said("gpt-4")
    assert response["usage"]["total_tokens"] == response.usage.total_tokens > 0
    assert controller.model_counts == {"mf": {"gpt-4": 1}}


def test_router_and_threshold_are_arguments_too(controller):
    response = controller.completion(router="mf", threshold=1.0, messages=[{"role": "user", "content": "Hello!"}])

    assert response.choices[0].message.content == said("mixtral")


def test_a_stream_gives_chunks(controller):
    chunks = list(controller.completion(model="router-mf-0.0", messages=HARD, stream=True))

    assert "".join(chunk.choices[0].delta.get("content", "") for chunk in chunks) == "This is the stand-in "
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_stream_may_be_left_early(controller):
    chunks = controller.completion(model="router-mf-0.0", messages=HARD, stream=True)

    assert next(chunks).choices[0].delta.role == "assistant"
    chunks.close()

    assert controller.completion(model="router-mf-0.0", messages=HARD).object == "chat.completion"


@pytest.mark.parametrize("n_read", [0, 1])
@pytest.mark.parametrize("ends", ["dropped", "closed"])
def test_a_stream_that_is_left_ends_the_upstreams_answer_however_much_was_read(folder, ends, n_read):
    with FaultyUpstream() as upstream, Controller([str(folder)], "a", "b", api_base=upstream.base_url) as controller:
        upstream.does(*stream(*HELLO[:2], ends=False), STALL)
        chunks = controller.completion(router=str(folder), threshold=0.0, messages=HARD, stream=True)
        for _ in range(n_read):
            next(chunks)

        if ends == "closed":
            chunks.close()
            assert list(chunks) == []
        else:
            del chunks

        eventually(lambda: upstream.left_at is not None)


@pytest.mark.parametrize("n_read", [0, 1])
@pytest.mark.parametrize("ends", ["dropped", "closed"])
def test_so_it_is_for_a_stream_that_was_awaited(folder, ends, n_read):
    async def leave(controller: Controller) -> None:
        chunks = await controller.acompletion(router=str(folder), threshold=0.0, messages=HARD, stream=True)
        for _ in range(n_read):
            await anext(chunks)
        if ends == "closed":
            await chunks.aclose()
            assert [chunk async for chunk in chunks] == []

    with FaultyUpstream() as upstream, Controller([str(folder)], "a", "b", api_base=upstream.base_url) as controller:
        upstream.does(*stream(*HELLO[:2], ends=False), STALL)
        asyncio.run(leave(controller))
        eventually(lambda: upstream.left_at is not None)


def test_it_is_awaited_on_several_loops(controller):
    async def ask() -> str:
        answers = await asyncio.gather(
            *(controller.chat.completions.acreate(model="router-mf-0.0", messages=HARD) for _ in range(5))
        )
        return str({answer.choices[0].message.content for answer in answers})

    async def stream() -> str:
        chunks = await controller.acompletion(model="router-mf-1.0", messages=HARD, stream=True)
        return "".join([chunk.choices[0].delta.get("content", "") async for chunk in chunks])

    assert asyncio.run(ask()) == str({said("gpt-4")})
    assert asyncio.run(stream()) == "This is the stand-in "


def test_route_calls_no_model_and_agrees_with_the_win_rates(folder):
    controller = Controller([str(folder)], "gpt-4", "mixtral", api_base="http://127.0.0.1:9/v1")
    prompts = ["x" * n for n in (1, 50, 400)]

    win_rates = controller.batch_calculate_win_rate(prompts, str(folder))

    assert win_rates.shape == (3,)
    threshold = float(np.median(win_rates))
    chosen = [controller.route(prompt, str(folder), threshold) for prompt in prompts]
    assert chosen == ["gpt-4" if win_rate >= threshold else "mixtral" for win_rate in win_rates]
    assert set(chosen) == {"gpt-4", "mixtral"}


def test_each_model_has_an_endpoint_and_a_key_of_its_own(stand_in, folder):
    with Controller(
        [str(folder)],
        "gpt-4",
        "mixtral",
        api_base={"gpt-4": "http://127.0.0.1:9/v1", "mixtral": stand_in},
        api_key={"gpt-4": "one", "mixtral": "two"},
    ) as controller:
        models = controller._models
        assert {name: models[name].headers["authorization"] for name in models} == {
            "gpt-4": "Bearer one",
            "mixtral": "Bearer two",
        }
        response = controller.completion(router=str(folder), threshold=1.0, messages=HARD)
        assert response.choices[0].message.content == said("mixtral")


def test_the_other_model_answers_where_the_chosen_one_cannot(stand_in, folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{free.getsockname()[1]}/v1"  # bound, and nobody listens
        both = {"gpt-4": dead, "mixtral": stand_in}
        with Controller([str(folder)], "gpt-4", "mixtral", api_base=both) as controller:
            response = controller.completion(router=str(folder), threshold=0.0, messages=HARD)
            assert response.choices[0].message.content == said("mixtral")
        with (
            Controller([str(folder)], "gpt-4", "mixtral", api_base=dead) as controller,
            pytest.raises(UpstreamUnavailable),
        ):
            controller.completion(router=str(folder), threshold=0.0, messages=HARD)


def test_it_can_be_used_again_after_it_was_closed(controller):
    controller.close()

    assert controller.completion(model="router-mf-0.0", messages=HARD).object == "chat.completion"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"model": "gpt-4"}, "`model` must be like 'router-mf-0.5', got 'gpt-4'"),
        ({"model": "router-bert-0.5"}, "Unknown router 'bert'"),
        ({"model": "router-mf-1.5"}, r"`alpha` must be in \[0, 1\]"),
        ({"router": "mf"}, "Say which router and threshold"),
        ({"threshold": 0.5}, "Say which router and threshold"),
        ({"router": "fm", "threshold": 0.5}, "Did you mean 'mf'"),
        ({"router": "mf", "threshold": -1}, r"`alpha` must be in \[0, 1\]"),
    ],
)
def test_a_call_without_a_sound_router_and_threshold_is_refused(controller, call, message):
    with pytest.raises(ConfigError, match=message):
        controller.completion(messages=HARD, **call)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Controller([], "a", "b"), ConfigError, "at least one name"),
        (lambda: Controller("mf", "a", "b"), ConfigError, "must be a list"),
        (lambda: Controller(["default"], "a", "a"), ConfigError, "two models"),
        (lambda: Controller(["default"], "a", "b", api_base="localhost"), ConfigError, "`base_url`"),
        (lambda: Controller(["nowhere"], "a", "b"), CheckpointError, "nowhere"),
    ],
)
def test_a_controller_is_refused_by_what_is_wrong(make: Callable[[], Any], error, message):
    with pytest.raises(error, match=message):
        make()


def test_the_general_key_does_not_travel_to_another_host(monkeypatch, folder):
    monkeypatch.setenv("OPENAI_API_KEY", "general")

    general = Controller([str(folder)], "a", "b")
    other = Controller([str(folder)], "a", "b", api_base="http://127.0.0.1:9/v1")

    assert general._models["a"].headers == {"authorization": "Bearer general"}
    assert other._models["a"].headers == {}
