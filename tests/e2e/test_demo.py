"""What a newcomer sees first: a gateway, its decisions, its journal."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """What the demo says, and its result."""
    command = [sys.executable, "-m", "prefroute", "demo", "--json", "-"]
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(command, check=True, cwd=folder, capture_output=True, text=True, timeout=120)
    assert list(folder.iterdir()) == []  # it leaves nothing behind
    return done.stderr, json.loads(done.stdout)


def test_demo_sends_about_twenty_prompts_of_every_promised_kind_through_the_gateway(shown):
    result = shown[1]

    rows = result["results"]
    assert 18 <= len(rows) <= 24
    assert {"chat", "code", "maths", "extraction", "non-English", "very long", "empty"} <= {row["kind"] for row in rows}
    assert {row["model"] for row in rows} == {result["strong"], result["weak"]}
    scored = [row for row in rows if row["win_rate"] is not None]
    assert len(scored) >= 18
    for row in scored:
        assert (row["model"] == result["strong"]) == (row["win_rate"] >= result["threshold"]), row


def test_the_journal_holds_every_request_of_the_demo_and_the_streamed_one(shown):
    result = shown[1]

    answered = [share for share in result["report"]["shares"] if share["model"] is not None]
    n_asked = len(result["results"])
    assert result["report"]["n"] == n_asked + 1  # and one stream; a decision alone is no traffic
    assert sum(share["n"] for share in answered) == n_asked + 1
    assert result["report"]["errors"] == {}
    assert result["report"]["first_token"]["n"] == 1


def test_demo_costs_lie_between_always_weak_and_always_strong(shown):
    (cost,) = shown[1]["report"]["costs"]

    assert 0 < cost["always_weak_usd"] < cost["cost_usd"] < cost["always_strong_usd"]


def test_demo_streams_says_what_it_is_not_and_what_to_type_next(shown):
    said = shown[0]

    assert "This is the stand-in for" in said
    assert "not how good it is" in said
    assert "prefroute demo --serve" in said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_demo_serve_leaves_a_gateway_that_answers_until_it_is_stopped(number, code):
    command = [sys.executable, "-m", "prefroute", "demo", "--serve"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    try:
        line = next(line for line in process.stdout if "listening on" in line)
        found = re.search(r"http://127\.0\.0\.1:\d+/v1", line)
        assert found is not None
        url = found[0]
        body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "Hi!"}]}).encode()
        request = urllib.request.Request(f"{url}/chat/completions", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            said = json.load(answer)["choices"][0]["message"]["content"]
    finally:
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as Ctrl-C in a terminal does
        else:
            process.terminate()
        rest = process.communicate(timeout=30)

    assert said.startswith("This is the stand-in for")
    assert process.returncode == code, rest
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(request, timeout=5)  # nothing is left behind
