"""What is unlike the training data says so: `prefroute route` and the gateway's /v1/route."""

import asyncio
import base64
import json
import shutil
from pathlib import Path

import pytest
from scripts.shipped.probes import FAR, PROBES
from tests.servers.gateway import CHAT, in_process

import prefroute
from prefroute.checkpoint import open_checkpoint

PRIOR = 0.615  # the mean win rate of the sources, each counting the same: the card's last row of what it was trained on
BAND = 0.05

EXAM = "Which of these gases is noble?\nA. Iron\nB. Neon\nC. Oxygen\nD. Carbon\nAnswer:"
NEW = {
    "blank": " \n",
    "French": "Bonjour madame, comment allez-vous ce matin, et que puis-je faire pour vous ?",
    "Japanese": "明日の朝、駅まで歩いて行くのにどれくらいかかりますか。",
    "Arabic": "كم يستغرق المشي إلى المحطة صباح الغد؟",
    "Hindi": "कल सुबह स्टेशन तक पैदल जाने में कितना समय लगेगा?",
    "base64": base64.b64encode(bytes(range(256))).decode(),
    "APL": "life←{⊃1 ⍵=3 4+/,¯1 0 1∘.⊖¯1 0 1∘.⌽⊂⍵}",
    "COBOL": "IDENTIFICATION DIVISION.\nPROGRAM-ID. TOTALS.\nPROCEDURE DIVISION.\n    ADD A TO B GIVING C.",
    "Forth": ": square ( n -- n ) dup * ; 7 square . cr",
    "100 KB": "lorem ipsum dolor sit amet " * 3800,
}


def test_route_marks_what_is_new_to_the_router_and_nothing_else(run):
    (run.folder / "prompts.jsonl").write_text(
        "\n".join(json.dumps({"prompt": text}) for text in (EXAM, *NEW.values())), encoding="utf-8"
    )

    done = run("route", "--file", "prompts.jsonl", "--json", "routed.jsonl")

    shown = done.stdout.splitlines()
    rows = [json.loads(line) for line in (run.folder / "routed.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows[0]["novelty"] < 0.2
    assert "new to the router" not in shown[0]
    assert {name: row["novelty"] > 0.5 for name, row in zip(NEW, rows[1:], strict=True)} == dict.fromkeys(NEW, True)
    assert all("new to the router" in line for line in shown[1:])


def test_the_prior_is_the_mean_win_rate_of_the_sources():
    sources = open_checkpoint("default").manifest["training_data"]

    assert sum(source["mean_win_rate"] for source in sources) / len(sources) == pytest.approx(PRIOR, abs=5e-4)


def test_the_score_of_what_is_new_is_near_the_prior(run):
    (run.folder / "prompts.jsonl").write_text("\n".join(json.dumps({"prompt": text}) for text in NEW.values()))

    done = run("route", "--file", "prompts.jsonl", "--json", "-")

    rates = {name: json.loads(line)["win_rate"] for name, line in zip(NEW, done.stdout.splitlines(), strict=True)}
    assert {name: abs(rate - PRIOR) < BAND for name, rate in rates.items()} == dict.fromkeys(NEW, True), rates


@pytest.fixture(scope="module")
def shipped():
    return prefroute.load("default")


@pytest.mark.parametrize("kind", FAR)
def test_far_away_text_is_new_and_scores_near_the_prior(kind, shipped):
    win_rate, novelty = shipped.scored(PROBES[kind])

    assert (novelty > 0.5).all(), novelty
    assert (abs(win_rate - PRIOR) < BAND).all(), win_rate


def test_most_everyday_chat_is_new_to_the_router_and_scores_near_the_prior_too(shipped):
    win_rate, novelty = shipped.scored(PROBES["everyday chat"])

    assert (novelty > 0.5).mean() > 0.5  # a fact to know, not one to be proud of: the page and the card say it
    assert (abs(win_rate - PRIOR) < BAND).all(), win_rate


@pytest.mark.parametrize("text", ["", EXAM])
def test_route_takes_an_empty_prompt_as_it_takes_another(run, shipped, text):
    done = run("route", "--json", "-", text)

    row = json.loads(done.stdout)
    assert row["novelty"] == pytest.approx(shipped.novelty([text])[0], abs=1e-6)


def test_a_router_that_cannot_tell_says_nothing(run, checkpoint):
    done = run("route", "--router", checkpoint, "--json", "-", NEW["French"])

    assert json.loads(done.stdout)["novelty"] is None


@pytest.mark.parametrize(("text", "is_new"), [(EXAM, False), (NEW["French"], True)])
def test_the_gateway_says_how_new_a_request_is_to_its_router(tmp_path, monkeypatch, text, is_new):
    monkeypatch.setenv("CANARY", "sk-none")
    body = {**CHAT, "messages": [{"role": "user", "content": text}]}

    shutil.copytree(Path(prefroute.__file__).with_name("default"), tmp_path / "router")

    async def ask():
        async with in_process(tmp_path, "http://127.0.0.1:9/v1") as gateway:
            return await gateway.post("/v1/route", body)

    reply = asyncio.run(ask())

    assert (reply.json["novelty"] > 0.5) is is_new


def test_the_gateway_says_nothing_of_novelty_where_its_router_cannot_tell(tmp_path, monkeypatch):
    monkeypatch.setenv("CANARY", "sk-none")

    async def ask():
        async with in_process(tmp_path, "http://127.0.0.1:9/v1") as gateway:
            return await gateway.post("/v1/route")

    assert asyncio.run(ask()).json["novelty"] is None
