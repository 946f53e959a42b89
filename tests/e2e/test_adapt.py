"""`prefroute adapt`: the shipped router made a router for other models, as a user runs it."""

import asyncio
import json
import time

import pytest
from tests.servers.gateway import CHAT

from prefroute.journal import AttemptRow, FeedbackRow, RequestRow, Storing, open_database
from prefroute.journal.feedback import add_feedback
from prefroute.journal.statements import write_rows
from prefroute.prompts import prompt_hash
from prefroute.serve.conversation import read_conversation
from prefroute.serve.loading import load_runtime
from prefroute.serve.planner import Planner, resolve

PAIR = ("--strong", "big", "--weak", "small")


def test_outcomes_of_other_models_make_a_router_that_routes_between_them(run, outcomes):
    done = run("adapt", "--data", outcomes, *PAIR, "--out", "mine", "--json", "-")

    told = json.loads(done.stdout)
    assert [model["model"] for model in told["models"]] == ["big", "small"]
    assert [model["n"] for model in told["models"]] == [240, 240]
    small = told["models"][1]
    assert small["skill"]["interval"][0] > 0  # where it fails is foreseen
    decisions = [
        json.loads(run("route", "--router", "mine", "--json", "-", text).stdout)
        for text in ("Say hello.", "What is 17 * 23 - 4 * 19?")
    ]
    assert {decision["threshold"] for decision in decisions} == {told["threshold"]}
    assert all(0 <= decision["novelty"] <= 1 for decision in decisions)


def test_a_checkpoint_that_was_adapted_knows_what_it_and_its_ruler_were_trained_on(run, outcomes):
    run("adapt", "--data", outcomes, *PAIR, "--out", "mine")

    message = run.refused("evaluate", "mine", "--benchmark", outcomes, *PAIR)

    assert "all 240 stand in the training data" in message
    sources = json.loads((run.folder / "mine" / "router.json").read_text(encoding="utf-8"))["training_data"]
    assert sources[0]["name"].startswith("mmlu, train half")
    assert sources[-1] == {"name": "outcomes.csv", "rows": 240}


def test_mean_qualities_and_prompts_make_one_too(run, outcomes):
    words = ("--quality", "big=0.9", "--quality", "small=0.6", "--quality", "tiny=0.3")

    run("adapt", *words, "--prompts", outcomes.with_name("prompts.txt"), *PAIR, "--out", "rated")

    models = json.loads((run.folder / "rated" / "router.json").read_text(encoding="utf-8"))["models"]
    assert models == ["big", "small", "tiny"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Give one of --data PATH, --journal JOURNAL, and --quality"),
        (("--quality", "big=0.9"), "Give one of --data PATH"),
        (("--prompts", "p.txt"), "Give one of --data PATH"),
        (("--quality", "big", "--prompts", "p.txt"), "--quality must look like MODEL=NUMBER, got 'big'"),
        (("--journal", "sqlite:///nothing.db"), "nothing.db"),
    ],
)
def test_a_wrong_line_is_refused_and_nothing_is_made(run, words, said):
    (run.folder / "p.txt").write_text("Say hello.\n", encoding="utf-8")

    assert said in run.refused("adapt", *words, *PAIR, "--out", "mine")
    assert not (run.folder / "mine").exists()


def test_a_router_without_a_difficulty_is_refused(run, outcomes, checkpoint):
    message = run.refused("adapt", checkpoint, "--data", outcomes, *PAIR, "--out", "mine")

    assert "which knows no difficulty. Leave it out for the one that ships" in message


def test_a_folder_that_is_there_is_left_alone(run, outcomes):
    (run.folder / "mine").mkdir()

    assert "exists and is left alone" in run.refused("adapt", "--data", outcomes, *PAIR, "--out", "mine")


def test_a_journal_whose_feedback_is_one_sided_makes_a_router(run):
    """Sixty prompts, each answered by one of the models and scored by the client: no row holds both."""
    engine = open_database("sqlite:///journal.db", run.folder)
    now = time.time()
    with engine.begin() as connection:
        for i in range(60):
            model, prompt = ("big", "small")[i % 2], f"What is {i} * {i + 3}?"
            row = RequestRow(f"r{i:03d}", now, "chat", key_id="k", route="auto", model=model, status=200, prompt=prompt)
            row.prompt_hash, row.attempts = prompt_hash(prompt), [AttemptRow(model, "ok", 200, 0.5)]
            write_rows(connection, [row], [], instance="i", storing=Storing(prompts=True))
            add_feedback(connection, FeedbackRow(row.request_id, "k", now, score=float(model == "big" or i % 4 == 1)))
    engine.dispose()

    done = run("adapt", "--journal", "sqlite:///journal.db", *PAIR, "--out", "mine", "--json", "-")

    assert [model["n"] for model in json.loads(done.stdout)["models"]] == [30, 30]


@pytest.mark.parametrize(("usd_weight", "chosen"), [(0, "big"), (20, "small"), (10_000, "tiny")])
def test_a_gateway_weighs_quality_and_price_of_three_models_known_by_a_number_each(run, outcomes, usd_weight, chosen):
    words = ("--quality", "big=0.9", "--quality", "small=0.7", "--quality", "tiny=0.2")
    run("adapt", *words, "--prompts", outcomes.with_name("prompts.txt"), *PAIR, "--out", "rated")
    prices = {"big": 50, "small": 5, "tiny": 0.1}
    models = "".join(
        f"  {name}: {{base_url: 'http://127.0.0.1:9/v1', usd_per_mtok_in: {usd}, usd_per_mtok_out: {usd}}}\n"
        for name, usd in prices.items()
    )
    route = f"{{router: rated, candidates: [big, small, tiny], policy: {{usd_weight: {usd_weight}}}}}"
    (run.folder / "gateway.yaml").write_text(f"models:\n{models}routes:\n  auto: {route}\n", encoding="utf-8")
    _, runtime = load_runtime(run.folder / "gateway.yaml")

    plan = asyncio.run(
        Planner().plan(runtime, resolve(runtime, "auto", may_choose_threshold=False), read_conversation(CHAT))
    )

    assert set(plan.scores or ()) == set(prices)
    assert plan.chosen == chosen
