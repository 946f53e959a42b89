import functools
import importlib

from prefroute.augment import ChatModel, JudgePlan, judge
from prefroute.augment.calls import Pace
from prefroute.http import Endpoint, OpenAIClient


def test_a_judge_run_waits_for_minutes_where_an_endpoint_asks_for_them(loopback, monkeypatch, tmp_path):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    # the pace's clock passes all that is slept: it never waits for what the client waited for
    pace = functools.partial(Pace, sleep=sleep, clock=lambda: sum(waits))
    room = importlib.import_module("prefroute.augment.judge")  # as an attribute, the name is the function
    monkeypatch.setattr(room, "Pace", pace)
    monkeypatch.setattr(room, "OpenAIClient", functools.partial(OpenAIClient, sleep=sleep))
    loopback.says(429, {}, Retry_After="300")
    for text in ("yes", "no", "[[1]]"):
        loopback.says(200, {"choices": [{"message": {"content": text}}]})
    endpoint = Endpoint(loopback.base_url)
    strong, weak, marker = (ChatModel(role, endpoint) for role in ("strong", "weak", "judge"))
    plan = JudgePlan.of(["p"], strong=strong, weak=weak, judge=marker, mode="reference")

    judged = judge(plan, tmp_path)

    assert judged.is_complete
    assert waits == [300.0]
