"""`serve --check`, `reload` and `init --gateway` as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

DEPLOYED = Path(__file__).parents[2] / "deploy" / "gateway.yaml"
FILE = """\
models:
  large-one: {base_url: "http://127.0.0.1:1/v1", api_key: "${MY_KEY}", usd_per_mtok_in: 2, usd_per_mtok_out: 8}
  little-one: {base_url: "http://127.0.0.1:2/v1"}
routes:
  auto: {candidates: [large-one, little-one], policy: {threshold: 0.4}}
"""


def test_starting_file_is_checked_and_found_good(run, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    run("init", "--gateway")

    done = run("serve", "gateway.yaml", "--check")

    assert "gateway.yaml can be served (configuration " in done.stdout
    assert "sk-canary" not in done.stdout + done.stderr
    assert sorted(path.name for path in run.folder.iterdir()) == ["gateway.yaml"]  # a check leaves nothing behind


def test_check_tells_what_would_be_served_without_keys(run, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-canary")
    (run.folder / "my.yaml").write_text(FILE, encoding="utf-8")

    done = run("serve", "my.yaml", "--check", "--port", 0, "--workers", 3, "--json", "-")

    told = json.loads(done.stdout)
    assert (told["server"]["port"], told["server"]["workers"]) == (0, 3)
    assert told["models"]["large-one"]["has_key"]
    assert not told["models"]["little-one"]["has_key"]
    route = told["routes"]["auto"]
    assert (route["strong"], route["weak"], route["default"]) == ("large-one", "little-one", "large-one")
    assert route["policy"] == {"kind": "threshold", "alpha": 0.4}
    assert "sk-canary" not in done.stdout + done.stderr


def test_result_of_a_gateway_that_serves_is_not_promised(run):
    assert run.refused("serve", "my.yaml", "--json", "-").startswith("--json goes with --check")


def test_check_names_every_problem_on_one_line(run):
    (run.folder / "my.yaml").write_text(FILE.replace("little-one]", "litle-one]"), encoding="utf-8")

    message = run.refused("serve", "my.yaml", "--check")

    assert message.startswith(
        "my.yaml: 2 problems: my.yaml:2: models.large-one.api_key: the environment variable MY_KEY"
    )
    assert "my.yaml:5: routes.auto.candidates.1: Unknown model 'litle-one'. Did you mean 'little-one'?" in message


def test_check_opens_the_checkpoints(run, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-1")
    text = FILE.replace("{candidates", "{router: runs/none, candidates")
    (run.folder / "my.yaml").write_text(text, encoding="utf-8")

    assert run.refused("serve", "my.yaml", "--check").startswith("my.yaml:5: routes.auto.router: ")


def test_configuration_of_the_container_can_be_served(run, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    monkeypatch.setenv("POSTGRES_PASSWORD", "canary")

    done = run("serve", DEPLOYED, "--check")

    assert "can be served" in done.stdout
    assert "canary" not in done.stdout + done.stderr


def test_reload_without_a_gateway_says_how_to_start_one(run):
    message = run.refused("reload", "my.yaml")

    assert message.startswith("No gateway of this user that serves 'my.yaml' was found on this machine. Start it: ")


def test_init_leaves_a_file_alone_that_is_there(run):
    run("init", "--gateway", "here.yaml")

    assert "is left alone" in run.refused("init", "--gateway", "here.yaml")
