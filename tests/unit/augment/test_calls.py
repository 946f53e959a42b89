import asyncio

import numpy as np
import pytest

from prefroute.augment.calls import BudgetReached, Calls, Pace, Stopped
from prefroute.augment.ledger import Ledger
from prefroute.augment.plan import ChatModel
from prefroute.augment.wording import answer_messages
from prefroute.errors import UpstreamProtocolError, UpstreamTimeout, UpstreamUnavailable
from prefroute.http import Endpoint
from prefroute.prices import Price

ENDPOINT = Endpoint("http://127.0.0.1:9/v1")
MODEL = ChatModel("m", ENDPOINT, {"max_tokens": 1000}, Price(0, 1000, "now", "test"))  # at most 1 USD a call
USAGE = {"prompt_tokens": 1, "completion_tokens": 250}  # 0.25 USD


def completion(text="hi", usage=USAGE, reason="stop"):
    return {"choices": [{"message": {"content": text}, "finish_reason": reason}], "usage": usage}


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self):
        self.now = 100.0
        self.waits = []

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.waits.append(seconds)
        self.now += seconds


class FakePost:
    """Answers with what is scripted; an error is raised inside the attempt, as the client does."""

    def __init__(self, *said):
        self.said = list(said)
        self.bodies = []

    async def __call__(self, path, body, around):
        self.bodies.append((path, body))
        async with around():
            await asyncio.sleep(0)
            said = self.said.pop(0) if self.said else completion()
            if isinstance(said, Exception):
                raise said
        return said


def calls_of(ledger, post, max_usd=None, pace=None):
    return Calls(ledger, {ENDPOINT: post}, {ENDPOINT: pace or Pace(None, np.random.default_rng(0))}, max_usd)


async def ask(calls, text="q"):
    return await calls.ask("answer", MODEL, answer_messages(text))


def test_an_answer_is_asked_for_once_and_then_read_from_disk(tmp_path):
    async def run(ledger):
        post = FakePost(completion("hello"))
        calls = calls_of(ledger, post)
        return [(await ask(calls)).text, (await ask(calls)).text], post.bodies

    with Ledger(tmp_path) as ledger:
        texts, bodies = asyncio.run(run(ledger))

    assert texts == ["hello", "hello"]
    body = {"model": "m", "messages": [{"role": "user", "content": "q"}], "max_tokens": 1000}
    assert bodies == [("chat/completions", body)]


@pytest.mark.parametrize(
    ("error", "usd"),
    [
        (UpstreamUnavailable("refused: 429", status=429), 0.0),
        (UpstreamTimeout("late", may_have_run=True), 1.0),
    ],
)
def test_a_failed_attempt_counts_at_its_most_only_if_it_may_have_run(tmp_path, error, usd):
    with Ledger(tmp_path) as ledger:
        with pytest.raises(type(error)):
            asyncio.run(ask(calls_of(ledger, FakePost(error))))

        assert ledger.usd == usd


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"choices": []},
        {"choices": "x"},
        {"choices": [3]},
        {"choices": [{"message": "x"}]},
        {"choices": [{"message": {"content": [1]}}]},
    ],
)
def test_what_is_no_completion_is_refused_and_counts_at_its_most(tmp_path, said):
    with Ledger(tmp_path) as ledger:
        with pytest.raises(UpstreamProtocolError, match="without the text of a chat completion"):
            asyncio.run(ask(calls_of(ledger, FakePost(said))))

        assert ledger.usd == 1.0


@pytest.mark.parametrize(
    "usage",
    [None, {}, "x", {"prompt_tokens": -1, "completion_tokens": 2}, {"prompt_tokens": 10**30, "completion_tokens": 2}],
)
def test_an_answer_without_usable_usage_counts_at_its_most(tmp_path, usage):
    with Ledger(tmp_path) as ledger:
        answer = asyncio.run(ask(calls_of(ledger, FakePost(completion(usage=usage)))))

        assert (answer.text, answer.usd, ledger.usd) == ("hi", 1.0, 1.0)


def test_an_answer_without_text_is_empty_and_one_at_the_limit_is_cut(tmp_path):
    async def run(calls):
        return await ask(calls, "a"), await ask(calls, "b")

    with Ledger(tmp_path) as ledger:
        calls = calls_of(ledger, FakePost(completion(text=None), completion(reason="length")))
        empty, cut = asyncio.run(run(calls))

    assert (empty.text, cut.is_cut, calls.n_cut["answer"]) == ("", True, 1)


def test_no_attempt_is_sent_that_could_exceed_the_budget(tmp_path):
    async def run(calls):
        for i in range(9):
            await ask(calls, str(i))

    with Ledger(tmp_path) as ledger:
        post = FakePost()
        with pytest.raises(BudgetReached):
            asyncio.run(run(calls_of(ledger, post, max_usd=2.0)))

        # 5 * 0.25 = 1.25 leaves less than the 1 USD that a sixth could cost
        assert ledger.usd == 1.25


def test_a_call_waits_for_those_in_flight_to_give_back_what_they_did_not_need(tmp_path):
    async def run(calls):
        return await asyncio.gather(*(ask(calls, str(i)) for i in range(4)))

    with Ledger(tmp_path) as ledger:
        answers = asyncio.run(run(calls_of(ledger, FakePost(), max_usd=2.0)))

        assert len(answers) == 4  # two at once would need 2 USD, four 4 USD: the others waited
        assert ledger.usd == 1.0


def test_after_stop_nothing_is_sent(tmp_path):
    with Ledger(tmp_path) as ledger:
        calls = calls_of(ledger, FakePost())
        calls.stop()
        with pytest.raises(Stopped):
            asyncio.run(ask(calls))

        assert ledger.usd == 0.0


def test_attempts_are_spaced_evenly():
    clock = Clock()
    pace = Pace(60, np.random.default_rng(0), clock.sleep, clock)

    async def run():
        for _ in range(3):
            await pace.turn()

    asyncio.run(run())

    assert clock.waits == [1.0, 1.0]


def test_hold_makes_every_turn_wait_so_long_and_a_little_more():
    clock = Clock()
    pace = Pace(None, np.random.default_rng(0), clock.sleep, clock)
    pace.hold(5.0)

    asyncio.run(pace.turn())

    assert 5.0 <= sum(clock.waits) <= 5.25
