"""Scores for requests that wait: together, in time, and never at the cost of the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from tests.unit.serve.fakes import ScriptedPool, ScriptedRouter, route

from prefroute.checkpoint import open_checkpoint
from prefroute.serve.conversation import read_conversation
from prefroute.serve.runtime import Route
from prefroute.serve.scoring import _ON_LOOP_S, _STUCK_S, Score, Scorer, _Cost


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 20))


def scores(there: Route, texts: list[str], *, prepared: bool = True) -> list[Score]:
    scorer = Scorer()
    if prepared:
        scorer.prepare([there])
        there.router.calls.clear()  # type: ignore[attr-defined]

    async def all_at_once() -> list[Score]:
        return await asyncio.gather(*(scorer.win_rate(there, text) for text in texts))

    found: list[Score] = run(all_at_once())
    return found


class Gate:
    """A score that takes until the test says so; counts the threads that wait for it."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.n_entered = 0
        self.threads: set[str] = set()

    def __call__(self, text: str) -> float:
        self.n_entered += 1
        self.threads.add(threading.current_thread().name)
        self.opened.wait(20)
        return 0.25


def noting_threads(names: set[str]) -> Callable[[str], float]:
    def score(text: str) -> float:
        names.add(threading.current_thread().name)
        return 0.5

    return score


def test_requests_that_come_together_are_scored_in_one_call():
    router = ScriptedRouter(lambda text: len(text) / 100)

    found = scores(route(router), ["x" * n for n in range(1, 9)])

    assert [float(score.row) for score in found if score.row is not None] == [n / 100 for n in range(1, 9)]
    assert [len(call) for call in router.calls] == [8]


def test_a_fast_router_is_called_on_the_loops_own_thread():
    names: set[str] = set()
    router = ScriptedRouter(noting_threads(names))

    scores(route(router), ["one", "two"])

    assert names == {threading.main_thread().name}


def test_a_router_is_measured_at_its_first_request_where_nobody_prepared_it():
    router = ScriptedRouter(lambda text: 0.5)

    found = scores(route(router, deadline_s=20), ["one"], prepared=False)

    assert found[0].row == 0.5


def test_a_batch_stops_before_it_would_hold_the_loop():
    router = ScriptedRouter(lambda text: 0.5)
    scorer = Scorer()
    there = route(router, deadline_s=20)
    scorer.prepare([there])
    line = next(iter(scorer._lines.values()))
    line.cost.probe = line.cost.learn = lambda *_: None  # type: ignore[method-assign,assignment]
    line.cost.predict = lambda text: _ON_LOOP_S / 3  # type: ignore[method-assign]
    router.calls.clear()

    async def all_at_once() -> list[Score]:
        return await asyncio.gather(*(scorer.win_rate(there, f"text {n}") for n in range(7)))

    run(all_at_once())

    assert [len(call) for call in router.calls] == [3, 3, 1]


def test_a_slow_router_is_called_in_a_thread_and_late_after_the_deadline():
    gate = Gate()
    there = route(ScriptedRouter(gate), deadline_s=0.02, is_remote=True)
    scorer = Scorer()

    async def ask() -> Score:
        score = await scorer.win_rate(there, "one")
        gate.opened.set()
        return score

    score = run(ask())

    assert (score.row, score.trouble) == (None, "scorer_late")
    assert gate.threads == {"prefroute-scorer"}


def test_a_router_that_does_io_is_never_probed_and_never_called_on_the_loop():
    names: set[str] = set()
    router = ScriptedRouter(noting_threads(names))
    there = route(router, is_remote=True, deadline_s=20)
    scorer = Scorer()
    scorer.prepare([there])

    assert router.calls == []
    assert run(scorer.win_rate(there, "one")).row == 0.5
    assert names == {"prefroute-scorer"}


def test_a_router_that_hangs_holds_one_thread_and_lets_others_pass(monkeypatch):
    gate = Gate()
    router = ScriptedRouter(gate)
    there = route(router, deadline_s=0.02)
    scorer = Scorer()

    async def ask() -> list[Score]:
        first = await asyncio.gather(*(scorer.win_rate(there, f"text {n}") for n in range(50)))
        line = next(iter(scorer._lines.values()))
        line._calls = {number: started - 2 * _STUCK_S for number, started in line._calls.items()}
        at_once = await scorer.win_rate(there, "one more")
        assert at_once.seconds < there.deadline_s  # it did not wait for a thread that is stuck
        assert gate.n_entered == 1
        gate.opened.set()
        later = Score(None, "scorer_late", 0)
        while later.row is None:
            await asyncio.sleep(0.01)
            later = await scorer.win_rate(there, "and again")
        return [*first, at_once, later]

    *late, recovered = run(ask())

    assert {score.trouble for score in late} == {"scorer_late"}
    assert recovered.row == 0.25


def test_a_text_that_a_router_fails_on_does_not_sink_the_others():
    def score(text: str) -> float:
        if text == "poison":
            raise ValueError(text)
        return 0.5

    found = scores(route(ScriptedRouter(score)), ["one", "poison", "two"])

    assert [score.trouble for score in found] == [None, "scorer_error", None]


def test_a_failing_router_is_logged_once_without_the_text(caplog):
    def score(text: str) -> float:
        raise ValueError(text)

    there = route(ScriptedRouter(score))
    scorer = Scorer()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert run(scorer.win_rate(there, "a private text")).trouble == "scorer_error"

    assert len(caplog.records) == 1
    assert "ValueError" in caplog.text
    assert "private" not in caplog.text


def test_a_router_with_too_few_rows_is_an_error():
    router = ScriptedRouter(lambda text: 0.5)
    router.win_rate = lambda prompts: np.zeros(0)  # type: ignore[method-assign]

    assert run(Scorer().win_rate(route(router), "one")).trouble == "scorer_error"


@pytest.mark.parametrize("bad", [float("nan"), -0.1, 1.1])
def test_a_row_that_is_no_score_spoils_only_itself(bad):
    found = scores(route(ScriptedRouter(lambda text: bad if text == "two" else 0.5)), ["one", "two", "three"])

    assert [score.trouble for score in found] == [None, "scorer_error", None]


def test_a_request_that_leaves_does_not_disturb_those_that_stay():
    there = route(ScriptedRouter(lambda text: 0.5))
    scorer = Scorer()
    scorer.prepare([there])

    async def leave() -> Score:
        leaver = asyncio.create_task(scorer.win_rate(there, "one"))
        stayer = asyncio.create_task(scorer.win_rate(there, "two"))
        await asyncio.sleep(0)
        leaver.cancel()
        score = await stayer
        assert leaver.cancelled() or await asyncio.gather(leaver, return_exceptions=True)
        return score

    assert run(leave()).row == 0.5


def test_a_pool_gives_a_quality_for_each_model():
    score = run(Scorer().qualities(route(ScriptedPool({"big": 0.9, "small": 0.4}), deadline_s=20), "one"))

    np.testing.assert_array_equal(score.row, [0.9, 0.4])


def test_routers_that_no_route_has_any_more_are_forgotten():
    old, new = route(ScriptedRouter(lambda text: 0.1)), route(ScriptedRouter(lambda text: 0.9))
    scorer = Scorer()

    scorer.prepare([old])
    scorer.prepare([new, new])

    assert [key[0] for key in scorer._lines] == [id(new.router)]


def test_predicted_cost_follows_the_calls_but_not_one_of_them():
    cost = _Cost()
    cost.probe(lambda texts: np.zeros(len(texts)))
    before = cost.predict("x" * 100)

    cost.learn(before, 1000 * before)
    assert cost.predict("x" * 100) < 2 * before

    for _ in range(30):
        cost.learn(cost.predict("x" * 100), 10 * before)
    assert cost.predict("x" * 100) == pytest.approx(10 * before, rel=0.2)


def test_calls_that_are_interrupted_now_and_then_do_not_make_a_router_look_slow():
    cost = _Cost()
    cost.probe(lambda texts: np.zeros(len(texts)))
    usual = cost.predict("x" * 100)

    for i in range(200):
        cost.learn(cost.predict("x" * 100), (10 if i % 5 == 0 else 1) * usual)

    assert cost.predict("x" * 100) < 1.5 * usual


def test_what_is_served_is_scored_as_the_command_line_scores_it():
    router = open_checkpoint("default").router
    there = route(router, deadline_s=20)
    prompts = ["What is 2 + 2?", "Prove that there are infinitely many primes. " * 180]
    bodies = [{"messages": [{"role": "user", "content": prompt}]} for prompt in prompts]
    scorer = Scorer()

    found = [run(scorer.win_rate(there, read_conversation(body).text)).row for body in bodies]

    np.testing.assert_allclose(found, router.win_rate(prompts), atol=1e-6)
