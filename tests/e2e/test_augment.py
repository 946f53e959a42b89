"""`prefroute augment` as a user runs it; judges answer from a process of their own that misbehaves on request."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from prefroute.data import load
from prefroute.types import Battles

ENDPOINT = Path(__file__).with_name("scripted_endpoint.py")
PRICES = ("--token-price", "big=10,30", "--token-price", "small=1,2", "--token-price", "judge=5,15")


@dataclass(frozen=True)
class Endpoint:
    base_url: str

    def stats(self):
        with urllib.request.urlopen(self.base_url + "/stats", timeout=30) as said:
            return json.load(said)

    def answered(self):
        """How often each distinct call was answered."""
        return list(self.stats()["answered"].values())


@contextlib.contextmanager
def started(delay_s=0.0):
    with subprocess.Popen([sys.executable, ENDPOINT, str(delay_s)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Endpoint(f"http://127.0.0.1:{int(process.stdout.readline())}/v1")
        finally:
            process.kill()


@pytest.fixture
def endpoint():
    with started() as running:
        yield running


def words(endpoint, *more):
    models = ("--strong", "big", "--weak", "small", "--judge", "judge", "--base-url", endpoint.base_url)
    return ("augment", "judge", "prompts.txt", *models, "--out", "battles.csv", "--state", "state", *more)


def write_prompts(run, *prompts):
    (run.folder / "prompts.txt").write_text("".join(f"{prompt}\n" for prompt in prompts))


def report_of(run):
    return json.loads((run.folder / "battles.report.json").read_text())


def battles_of(run):
    made = load(run.folder / "battles.csv")
    assert isinstance(made, Battles)
    return made


def test_prompts_become_battles_that_load_reads(run, endpoint):
    write_prompts(run, "one", "two [weak]", "three [first]")

    run(*words(endpoint, "--yes", "--concurrency", "1"))

    battles = battles_of(run)
    assert list(zip(battles.prompts, battles.outcome.tolist(), strict=True)) == [
        ("one", 1.0),
        ("two [weak]", 0.0),
        ("three [first]", 0.5),  # strong when first, weak when first: their mean
    ]
    assert [battles.models[i] for i in battles.model_a] == ["big"] * 3


def test_report_says_how_far_the_judge_can_be_trusted(run, endpoint):
    write_prompts(run, "one", "two [weak]", "three [first]", "four [ramble]")

    run(*words(endpoint, "--yes"))

    report = report_of(run)
    assert report["agreement_share"] == pytest.approx(2 / 3)  # one and two, not three
    assert report["position_bias"] == pytest.approx(2 / 6)  # 4 of 6 readable verdicts for the first, 2 for the second
    assert report["tie_share"] == pytest.approx(1 / 3)
    assert report["unparsable_share"] == pytest.approx(2 / 8)
    assert (report["n_judged"], report["n_unparsable"]) == (3, 1)


def test_reference_mode_keeps_the_score_and_takes_4_and_5_as_good_enough(run, endpoint):
    write_prompts(run, "one", "two [weak]")

    run(*words(endpoint, "--yes", "--mode", "reference"))

    assert (run.folder / "battles.csv").read_text().splitlines() == [
        "prompt,model_a,model_b,outcome,score",
        "one,big,small,1.0,2.0",
        "two [weak],big,small,0.0,5.0",
    ]
    assert report_of(run)["n_by_score"] == {"1": 0, "2": 1, "3": 0, "4": 0, "5": 1}


def test_stored_strong_answers_are_not_generated_again(run, endpoint):
    rows = [{"prompt": "one", "kept": "big says: stored"}, {"prompt": "two", "kept": ""}]
    (run.folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = [word if word != "prompts.txt" else "prompts.jsonl" for word in words(endpoint)]

    run(*line, "--yes", "--strong-answers", "kept")

    # strong once, weak twice; two verdicts each
    assert report_of(run)["n_sent"] == {"answer": 3, "judge": 4}


def test_estimate_is_shown_and_nothing_is_sent_until_somebody_says_yes(run, endpoint):
    write_prompts(run, "one", "two")

    done = run(*words(endpoint, *PRICES), stdin="n\n", code=2)

    assert "Calls to send: 2 to big, 2 to small, 4 to judge; 0 are on disk already." in done.stdout
    assert "USD if every answer is as long as it may be" in done.stdout
    assert "Nothing was sent." in done.stderr
    assert endpoint.stats()["seen"] == 0
    run(*words(endpoint), stdin="y\n")
    assert endpoint.stats()["seen"] == 8


@pytest.mark.slow
def test_refusals_stalls_and_nonsense_are_survived_counted_and_never_guessed(run, endpoint):
    marks = ("[429]", "[500]", "[stall]", "[html]", "[json]", "[down]", "[400]", "[null]", "[ramble]", "")
    write_prompts(run, *(f"question {mark}" for mark in marks))

    done = run(*words(endpoint, "--yes", "--timeout-s", "1", "--concurrency", "10"), code=1)

    report = report_of(run)
    assert "Traceback" not in done.stdout + done.stderr
    # judged: 429, 500, stall, and the plain one; failed: html, json, down
    fates = {name: report[f"n_{name}"] for name in ("judged", "failed", "refused", "empty", "unparsable", "left")}
    assert fates == {"judged": 4, "failed": 3, "refused": 1, "empty": 1, "unparsable": 1, "left": 0}
    assert set(battles_of(run).prompts) == {"question [429]", "question [500]", "question [stall]", "question "}
    assert not report["is_complete"]


def test_after_a_complete_run_nothing_is_sent_again(run, endpoint):
    write_prompts(run, "one", "two [ramble]", "three")
    run(*words(endpoint, "--yes"))
    first = (run.folder / "battles.csv").read_text()

    done = run(*words(endpoint))  # nothing to ask for either

    assert "Calls to send: none; 12 are on disk already." in done.stdout
    assert endpoint.answered() == [1] * 12
    assert (run.folder / "battles.csv").read_text() == first


@pytest.mark.slow
def test_kill_9_and_a_second_start_repeat_no_call_whose_answer_reached_the_disk(run):
    n_parallel, n_prompts = 4, 30
    write_prompts(run, *(f"question {i}" for i in range(n_prompts)))
    with started(delay_s=0.02) as endpoint:
        line = words(endpoint, "--yes", "--concurrency", n_parallel, "--max-usd", "50", *PRICES)
        command = [sys.executable, "-m", "prefroute", *map(str, line)]
        with subprocess.Popen(command, cwd=run.folder, stdout=subprocess.DEVNULL) as process:
            while len(endpoint.answered()) < 40:
                assert process.poll() is None
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)

        run(*line)

        repeated = [n for n in endpoint.answered() if n > 1]
        assert len(endpoint.answered()) == 4 * n_prompts
        assert sum(endpoint.answered()) - 4 * n_prompts <= n_parallel  # those in flight at the kill
        assert max(repeated, default=2) == 2
        report = report_of(run)
        assert sum(report["n_sent"].values()) + sum(report["n_on_disk"].values()) == 4 * n_prompts
        assert sum(report["n_on_disk"].values()) >= 40 - n_parallel
        assert report["is_complete"]
        assert len(battles_of(run)) == n_prompts


def test_max_usd_is_never_exceeded_even_when_every_call_costs_its_most(run, endpoint):
    write_prompts(run, *(f"question {i} [full]" for i in range(12)))
    limit = ("--param", "max_tokens=200", "--judge-param", "max_tokens=100")
    prices = ("--token-price", "big=10,10", "--token-price", "small=10,10", "--token-price", "judge=10,10")

    done = run(*words(endpoint, "--yes", "--max-usd", "0.1", *limit, *prices), code=1)

    stats = endpoint.stats()
    billed_usd = (stats["usd_in_tokens"] + stats["usd_out_tokens"]) * 10 / 1e6
    report = report_of(run)
    assert report["usd_spent"] == pytest.approx(billed_usd)
    assert 0.05 < billed_usd <= 0.1
    assert report["stopped_by"] == "max_usd"
    assert "Stopped: the next call could have gone above --max-usd." in done.stdout

    run(*words(endpoint, "--yes", "--max-usd", "10", *limit, *prices))
    assert endpoint.answered() == [1] * 48


@pytest.mark.slow
def test_attempts_that_may_have_been_billed_count_against_max_usd(run, endpoint):
    write_prompts(run, "question [down]")

    run(*words(endpoint, "--yes", "--max-usd", "1", *PRICES), code=1)

    report = report_of(run)
    # five attempts to big, each reserved: (15 bytes + 256 hidden) * 10 + 1024 * 30 dollars per million
    assert report["usd_maybe_billed"] == pytest.approx(5 * ((15 + 256) * 10 + 1024 * 30) / 1e6)
    assert report["usd_spent"] == report["usd_maybe_billed"]


def test_max_usd_without_the_price_of_a_model_is_refused(run, endpoint):
    write_prompts(run, "one")

    message = run.refused(*words(endpoint, "--yes", "--max-usd", "1", "--token-price", "big=1,1"))

    assert "not known: small, judge" in message
    assert endpoint.stats()["seen"] == 0


def test_calls_in_flight_are_bounded(run):
    write_prompts(run, *(f"question {i}" for i in range(12)))
    with started(delay_s=0.03) as endpoint:
        run(*words(endpoint, "--yes", "--concurrency", "3"))

        assert endpoint.stats()["most_in_flight"] <= 3


@pytest.mark.slow
def test_retry_after_holds_every_call_to_the_endpoint(run, endpoint):
    write_prompts(run, "question [429]", *(f"question {i}" for i in range(20)))

    run(*words(endpoint, "--yes", "--concurrency", "2"))

    at = endpoint.stats()["at"]
    # one of the first two calls is refused for a second; the other worker may have had one more under way
    assert len([moment for moment in at if moment < at[0] + 0.9]) <= 4


def test_a_wrong_key_stops_the_run_at_once(run, loopback):
    loopback.script.extend([lambda _: (401, {}, b'{"error": {"message": "bad key"}}')] * 9)
    write_prompts(run, *(f"question {i}" for i in range(50)))

    message = run.refused(*words(loopback, "--yes", "--concurrency", "2"), code=1)

    assert "answered 401: bad key" in message
    assert len(loopback.requests) <= 2


def test_ten_prompts_in_a_row_that_fail_stop_the_run(run, endpoint):
    write_prompts(run, *(f"question {i} [400]" for i in range(30)))

    message = run.refused(*words(endpoint, "--yes", "--concurrency", "1"), code=1)

    assert "answered 400: I will not" in message
    assert endpoint.stats()["seen"] == 10


def test_the_key_goes_to_its_endpoint_only(run, endpoint, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-general")
    monkeypatch.setenv("JUDGE_KEY", "sk-judge")
    write_prompts(run, "one")
    with started() as other:
        key = f"{other.base_url}=JUDGE_KEY"
        run(*words(endpoint, "--yes", "--judge-base-url", other.base_url, "--key-from", key))

        assert set(endpoint.stats()["keys"]) == {None}
        assert set(other.stats()["keys"]) == {"Bearer sk-judge"}
    assert b"sk-judge" not in (run.folder / "state" / "calls.sqlite").read_bytes()


def test_two_runs_in_one_state_folder_are_refused(run):
    write_prompts(run, *(f"question {i}" for i in range(8)))
    with started(delay_s=0.3) as endpoint:
        command = [sys.executable, "-m", "prefroute", *map(str, words(endpoint, "--yes", "--concurrency", "1"))]
        with subprocess.Popen(command, cwd=run.folder, stdout=subprocess.DEVNULL) as process:
            while not endpoint.stats()["seen"]:
                time.sleep(0.05)
            message = run.refused(*words(endpoint, "--yes"))
            process.kill()

    assert "is in use by another process" in message


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_in_flight(run):
    write_prompts(run, *(f"question {i}" for i in range(20)))
    with started(delay_s=0.2) as endpoint:
        command = [sys.executable, "-m", "prefroute", *map(str, words(endpoint, "--yes", "--concurrency", "3"))]
        with subprocess.Popen(command, cwd=run.folder, stdout=subprocess.DEVNULL) as process:
            while len(endpoint.answered()) < 6:
                time.sleep(0.05)
            os.kill(process.pid, signal.SIGINT)
            code = process.wait(timeout=60)

        run(*words(endpoint, "--yes", "--concurrency", "8"))

        assert code == 130
        assert endpoint.answered() == [1] * 80


def test_gold_makes_battles_of_outcomes_and_shows_what_came_out(run, outcomes):
    done = run("augment", "gold", outcomes, "--out", "gold.parquet", "--json", "gold.json")

    gold = load(run.folder / "gold.parquet")
    table = load(outcomes, table="outcomes")
    assert isinstance(gold, Battles)
    assert len(gold) == len(table) == 240
    assert gold.outcome.tolist() == ((1 + table.gain(*gold.models)) / 2).tolist()
    assert "Wrote 240 battles to gold.parquet." in done.stdout
    assert json.loads((run.folder / "gold.json").read_text())["n"] == 240


def test_gold_refuses_a_pair_that_is_none(run, outcomes):
    message = run.refused("augment", "gold", outcomes, "--out", "gold.csv", "--pairs", "big")

    assert message == "--pairs must look like A:B, got 'big'. Example: --pairs big:small"
