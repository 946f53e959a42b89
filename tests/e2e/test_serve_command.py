"""`serve --check`, `reload` and `init --gateway` as a user runs them."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from pathlib import Path

import pytest

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


def test_check_names_every_problem_on_a_line_of_its_own(run):
    (run.folder / "my.yaml").write_text(FILE.replace("little-one]", "litle-one]"), encoding="utf-8")

    lines = run("serve", "my.yaml", "--check", code=2).stderr.splitlines()

    assert lines[0] == "prefroute: error: my.yaml: 2 problems:"
    assert lines[1].startswith("my.yaml:2: models.large-one.api_key: the environment variable MY_KEY is not set.")
    assert lines[2].startswith("my.yaml:5: routes.auto.candidates.1: Unknown model 'litle-one'. Did you mean")
    assert len(lines) == 3


def test_check_opens_the_checkpoints(run, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-1")
    text = FILE.replace("{candidates", "{router: runs/none, candidates")
    (run.folder / "my.yaml").write_text(text, encoding="utf-8")

    assert run.refused("serve", "my.yaml", "--check").startswith("my.yaml:5: routes.auto.router: ")


def test_configuration_of_the_container_can_be_served_once_there_is_a_key(run, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    text, n = re.subn(r"url: postgresql://.*", "url: sqlite:///journal.db", DEPLOYED.read_text(encoding="utf-8"))
    (run.folder / "my.yaml").write_text(text, encoding="utf-8")

    message = run.refused("serve", "my.yaml", "--check")
    assert n == 1
    assert message.startswith("Anybody who reaches '0.0.0.0' could use your models: there is no key yet.")
    assert not (run.folder / "journal.db").exists()

    run("keys", "create", "my.yaml", "team")
    done = run("serve", "my.yaml", "--check")

    assert "can be served" in done.stdout
    assert "canary" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("url", "code", "message"),
    [
        ("sqlite:///none/journal.db", 2, "The journal's folder '{folder}/none' does not exist. Make it first."),
        ("sqlite:///my.yaml", 2, "is not a journal of prefroute: DatabaseError: file is not a database."),
        ("sqlite:///newer.db", 2, "was made by a newer prefroute (schema 9999, this one knows up to"),
        ("sqlite:///foreign.db", 2, "has a table `requests` that is not prefroute's. Use a database of its own."),
        ("postgresql://nobody@127.0.0.1:1/none", 1, "127.0.0.1:1/none cannot be opened: OperationalError: "),
    ],
)
def test_check_tries_the_journal_and_changes_nothing(run, monkeypatch, url, code, message):
    monkeypatch.setenv("MY_KEY", "sk-1")
    (run.folder / "my.yaml").write_text(f"journal: {{url: '{url}'}}\n{FILE}", encoding="utf-8")
    for name, table in (("newer", "alembic_version (version_num)"), ("foreign", "requests (id)")):
        with contextlib.closing(sqlite3.connect(run.folder / f"{name}.db")) as database, database:
            database.execute(f"create table {table}")
            if name == "newer":
                database.execute("insert into alembic_version values ('9999')")
    before = sorted(path.name for path in run.folder.iterdir())

    assert message.format(folder=run.folder) in run.refused("serve", "my.yaml", "--check", code=code)

    assert sorted(path.name for path in run.folder.iterdir()) == before


def test_reload_without_a_gateway_says_how_to_start_one(run):
    message = run.refused("reload", "my.yaml")

    assert message.startswith("No gateway of this user that serves 'my.yaml' was found on this machine. Start it: ")


def test_init_leaves_a_file_alone_that_is_there(run):
    run("init", "--gateway", "here.yaml")

    assert "is left alone" in run.refused("init", "--gateway", "here.yaml")
