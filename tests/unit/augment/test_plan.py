import pytest

from prefroute.augment import ChatModel, JudgePlan, estimate
from prefroute.augment.ledger import Answer, Ledger
from prefroute.augment.wording import answer_messages
from prefroute.errors import ConfigError, DataError
from prefroute.http import Endpoint
from prefroute.prices import Price

ENDPOINT = Endpoint("http://127.0.0.1:9/v1")


def model(name, price=None, **parameters):
    return ChatModel(name, ENDPOINT, {"max_tokens": 100, **parameters}, price)


def plan_of(prompts, price=None, **more):
    return JudgePlan.of(
        prompts, strong=model("big", price), weak=model("small", price), judge=model("judge", price), **more
    )


def test_empty_and_repeated_prompts_are_left_out_and_counted():
    plan = plan_of(["one", "", " ", "two", "one"])

    assert [question.prompt for question in plan.questions] == ["one", "two"]
    assert plan.n_left_out == 3


def test_text_that_is_not_valid_unicode_can_be_sent():
    assert plan_of(["a\ud800b"]).questions[0].prompt == "a?b"


def test_pairwise_asks_the_judge_in_both_orders_and_reference_once():
    assert len(plan_of(["p"]).judge_calls("p", "x", "y")) == 2
    assert len(plan_of(["p"], mode="reference").judge_calls("p", "x", "y")) == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"mode": "both"}, "`mode` must be pairwise or reference, got 'both'."),
        ({"strong_answers": ["x", "y"]}, "`strong_answers` must be one for each of 1 prompts, got 2."),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(more, said):
    with pytest.raises((ConfigError, DataError), match=said):
        plan_of(["p"], **more)


def test_no_prompt_with_text_is_refused():
    with pytest.raises(DataError, match="No prompt to judge: 2 read, all empty"):
        plan_of(["", " "])


def test_strong_and_weak_must_be_two_models():
    with pytest.raises(ConfigError, match="must be two models, got 'm' twice"):
        JudgePlan.of(["p"], strong=model("m"), weak=model("m"), judge=model("j"))


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({}, "got 'neither'"),
        ({"max_tokens": 0}, "got 0"),
        ({"max_tokens": "9"}, "got '9'"),
        ({"max_tokens": 9, "n": 4}, "Parameter 'n' of 'm' is set by prefroute"),
        ({"max_tokens": 9, "stream": True}, "Parameter 'stream'"),
    ],
)
def test_a_model_whose_cost_cannot_be_bounded_is_refused(parameters, said):
    with pytest.raises(ConfigError, match=said):
        ChatModel("m", ENDPOINT, parameters)


def test_most_that_a_call_can_cost_counts_every_byte_as_a_token():
    priced = ChatModel("m", ENDPOINT, {"max_completion_tokens": 50}, Price(10, 20, "now", "test"))

    # 6 bytes of "für" and "x" + 256 hidden tokens to read, 50 to write
    assert priced.usd_at_most(answer_messages("fürxx")) == pytest.approx(((6 + 256) * 10 + 50 * 20) / 1e6)


def test_estimate_counts_calls_tokens_and_dollars(tmp_path):
    plan = plan_of(["x" * 400], Price(10, 20, "now", "test"), mode="reference", strong_answers=["y" * 40])

    found = estimate(plan, tmp_path)

    assert found.n_calls == {"small": 1, "judge": 1}
    # 100 tokens to the weak model; its answer is 264 tokens on average, at most 100 here; the judge writes 100
    template = len(plan.judge_calls("", "", "")[0][0]["content"])
    assert found.tokens_in == 100 + -(-(template + 440) // 4) + 100
    assert found.tokens_out == 200
    assert found.usd == pytest.approx((found.tokens_in * 10 + 200 * 20) / 1e6, rel=0.01)
    assert found.usd_if_full == pytest.approx(found.usd)


def test_estimate_leaves_out_what_is_on_disk(tmp_path):
    plan = plan_of(["p"])
    key = plan.weak.key("answer", answer_messages("p"))
    with Ledger(tmp_path) as ledger:
        ledger.finish(ledger.reserve(key, 0.0), key, "answer", "small", Answer("a", False, 1, 1, 0.0))

    found = estimate(plan, tmp_path)

    assert (found.n_calls, found.n_on_disk) == ({"big": 1, "judge": 2}, 1)
    assert found.unpriced == ("big", "judge")


def test_models_of_one_name_at_two_endpoints_are_two_models(tmp_path):
    other = Endpoint("http://127.0.0.1:10/v1")
    judge = ChatModel("small", other, {"max_tokens": 100}, Price(10, 20, "now", "test"))
    plan = JudgePlan.of(["p"], strong=model("big", Price(1, 1, "now", "test")), weak=model("small"), judge=judge)

    found = estimate(plan, tmp_path)

    assert found.n_calls == {"big": 1, "small at http://127.0.0.1:9/v1": 1, "small at http://127.0.0.1:10/v1": 2}
    assert found.unpriced == ("small at http://127.0.0.1:9/v1",)


def test_an_answer_of_another_endpoint_is_not_taken_from_disk(tmp_path):
    plan = plan_of(["p"])
    elsewhere = ChatModel("small", Endpoint("http://127.0.0.1:10/v1"), {"max_tokens": 100})
    key = elsewhere.key("answer", answer_messages("p"))
    with Ledger(tmp_path) as ledger:
        ledger.finish(ledger.reserve(key, 0.0), key, "answer", "small", Answer("a", False, 1, 1, 0.0))

    assert estimate(plan, tmp_path).n_on_disk == 0
