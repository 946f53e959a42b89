"""`prefroute data fetch` as a user runs it, against a stand-in for the hub on loopback."""

import json
import subprocess
import sys
from typing import Any

import pytest

from prefroute.benchmarks import load_benchmark
from prefroute.data import PUBLIC_SETS

ARENA = "lmsys/lmsys-arena-human-preference-55k/train.csv"
TABLE = b"id,model_a,model_b,prompt,winner_model_a,winner_model_b,winner_tie\n" + b"".join(
    b'%d,big,small,"[""made up %d""]",%d,%d,0\n' % (i, i, i % 2, 1 - i % 2) for i in range(500)
)


@pytest.fixture
def arena(hub):
    hub.files[ARENA] = TABLE
    return hub


def test_fetched_table_is_inspected_by_the_command_that_was_named(run, arena):
    done = run("data", "fetch", "lmsys-arena-55k")

    assert f"From lmsys/lmsys-arena-human-preference-55k at {arena.commit}" in done.stdout
    named = next(line for line in done.stdout.splitlines() if line.startswith("Next: prefroute "))
    assert "500 battles" in run(*named.removeprefix("Next: prefroute ").split()).stdout


def test_json_says_what_was_fetched(run, arena):
    done = run("data", "fetch", "lmsys-arena-55k", "--to", "here", "--json", "-")

    found = json.loads(done.stdout)
    assert (found["name"], found["folder"], found["revision"]) == ("lmsys-arena-55k", "here", arena.commit)
    assert found["files"][0]["size_bytes"] == len(TABLE)
    assert (run.folder / "here" / "train.csv").read_bytes() == TABLE


def test_second_run_resumes_and_the_file_is_the_same(run, arena):
    arena.script = [("cut", 700), ("status", (404, {}))]  # 404 is not tried again: the first run ends there
    assert "answered 404" in run.refused("data", "fetch", "lmsys-arena-55k", code=1)

    run("data", "fetch", "lmsys-arena-55k")

    assert arena.asked("/cdn/")[-1]["Range"] == "bytes=700-"
    assert (run.folder / "data/lmsys-arena-55k/train.csv").read_bytes() == TABLE


def test_checksum_that_does_not_fit_is_one_line_and_leaves_nothing(run, arena):
    arena.checksum = "0" * 64

    assert "where 000000000000... was wanted" in run.refused("data", "fetch", "lmsys-arena-55k", code=1)
    assert not list((run.folder / "data/lmsys-arena-55k").glob("train*"))


def test_full_disk_is_one_line_and_leaves_nothing(run, arena):
    limited = 'ulimit -f 8; exec "$0" -B -m prefroute data fetch lmsys-arena-55k'  # files of at most 8 KiB
    done = subprocess.run(
        ["bash", "-c", limited, sys.executable], cwd=run.folder, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stderr.startswith("prefroute: error: The disk of 'data/lmsys-arena-55k' is full after ")
    assert len(done.stderr.splitlines()) == 1
    assert not list((run.folder / "data/lmsys-arena-55k").glob("train*"))


def test_gated_set_is_one_line(run, arena):
    arena.script = [("status", (401, {}))]

    assert "set HF_TOKEN to it." in run.refused("data", "fetch", "lmsys-arena-55k", code=1)


def test_500_then_an_answer_is_no_error(run, arena):
    arena.script = [("status", (500, {}))]

    assert "1 files, " in run("data", "fetch", "lmsys-arena-55k").stdout


def test_fetched_benchmarks_are_read_with_the_names_that_their_files_have(run, hub):
    chosen = PUBLIC_SETS["routellm-benchmarks"]
    strong, weak = "gpt-4-1106-preview", "mistralai/Mixtral-8x7B-Instruct-v0.1"
    table = f"prompt,{weak},{strong},{weak}_response\nmade up PATH 1,True,True,a\nmade up PATH 2,False,True,b\n"
    judged: list[dict[str, Any]] = [
        {"question_id": 1, "model": m, "turn": t, "score": s} for m, s in ((strong, 9), (weak, 5)) for t in (1, 2)
    ]
    made: dict[str, list[dict[str, Any]]] = {
        "question.jsonl": [{"question_id": 1, "turns": ["one?", "two?"]}],
        "judgements.jsonl": judged,
    }
    made["contaminated_prompts.jsonl"] = [{"train_prompt": "t", "eval_prompt": "nothing of this"}]
    for path in chosen.files:
        rows = made.get(path.rpartition("/")[2])
        text = "".join(json.dumps(row) + "\n" for row in rows) if rows else table.replace("PATH", path)
        hub.files[f"{chosen.repository}/{path}"] = text.encode()

    run("data", "fetch", "routellm-benchmarks", "--to", "it")

    mmlu, gsm8k, mt_bench = (load_benchmark(name, run.folder / "it") for name in ("mmlu", "gsm8k", "mt-bench"))
    assert (len(mmlu), mmlu.strong_quality, mmlu.weak_quality) == (114, 100.0, 50.0)  # 57 subjects, 2 rows each
    assert (len(gsm8k), gsm8k.strong_quality, gsm8k.weak_quality) == (2, 100.0, 50.0)
    assert (len(mt_bench), mt_bench.strong_quality, mt_bench.weak_quality) == (1, 9.0, 5.0)


def test_list_names_every_set_and_says_what_is_not_fetched(run):
    done = run("data", "fetch", "--list")

    for name in ("lmsys-arena-55k", "routellm-gpt4-judge", "routellm-benchmarks", "routerbench"):
        assert name in done.stdout
    assert "routerbench is not fetched: it is published as pickles only" in done.stdout


def test_list_as_json(run):
    found = json.loads(run("data", "fetch", "--list", "--json", "-").stdout)

    assert [it["name"] for it in found["sets"] if it["refused"]] == ["routerbench"]


def test_without_a_name_the_list_is_pointed_to(run):
    assert "--list" in run.refused("data", "fetch")
