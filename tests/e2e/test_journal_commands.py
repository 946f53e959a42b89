"""The commands around the journal, as an operator runs them."""

import json
import re
import shlex
import sqlite3
import time
from pathlib import Path

import pytest

from prefroute.journal import AttemptRow, FeedbackRow, KeyRing, RequestRow, Storing, open_database
from prefroute.journal.feedback import add_feedback
from prefroute.journal.statements import write_rows
from prefroute.journal.tables import api_keys
from prefroute.prompts import prompt_hash

DOCS = Path(__file__).parents[2] / "docs"
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CONFIG = """
models:
  big:
    base_url: http://127.0.0.1:9/v1
    usd_per_mtok_in: 10
    usd_per_mtok_out: 30
  small:
    base_url: http://127.0.0.1:9/v1
    usd_per_mtok_in: 1
    usd_per_mtok_out: 2
routes:
  auto:
    router: ROUTER
    candidates: [big, small]
journal:
  url: sqlite:///journal.db
"""


@pytest.fixture
def config(run, checkpoint):
    (run.folder / "gateway.yaml").write_text(CONFIG.replace("ROUTER", str(checkpoint)))
    return "gateway.yaml"


@pytest.fixture
def filled(run, config):
    """Forty prompts, each answered by both models, embedded by the shipped embedder, scored by the client."""
    from prefroute.embed import open_embedder

    embedder = open_embedder("static")
    engine = open_database("sqlite:///journal.db", run.folder)
    now = time.time()
    with engine.begin() as connection:
        for i in range(80):
            prompt, model = f"prompt number {i // 2} of ann@example.org", ("big", "small")[i % 2]
            row = RequestRow(
                f"r{i:03d}",
                now - i * 3600,
                "chat",
                key_id=f"key_{i % 4}",
                route="auto",
                model=model,
                attempts=[AttemptRow(model, "ok", 200, 0.5)],
                status=200,
                tokens_in=1000,
                tokens_out=100,
                cost_usd=0.013 if model == "big" else 0.0012,
                scoring_s=0.001,
                latency_s=0.5,
                prompt=prompt,
                prompt_hash=prompt_hash(prompt),
                embedding=embedder.encode([prompt])[0].astype("<f2").tobytes(),
                embedder=embedder.id,
            )
            write_rows(connection, [row], [], instance="i", storing=Storing(prompts=True, embeddings=True))
            score = 1.0 if model == "big" else i // 2 % 2
            add_feedback(connection, FeedbackRow(row.request_id, row.key_id, now, score=score))
    engine.dispose()
    return config


def find(run, secret):
    """Id of the good key with this secret."""
    engine = open_database("sqlite:///journal.db", run.folder)
    key = KeyRing(engine).find(secret.encode())
    engine.dispose()
    return key and key.key_id


@pytest.mark.slow
def test_a_key_is_made_listed_and_revoked(run, config):
    made = json.loads(
        run("keys", "create", config, "team", "--route", "auto", "--right", "explain", "--json", "-").stdout
    )
    assert find(run, made["secret"]) == made["key_id"]

    shown = run("keys", "list", config).stdout
    assert made["key_id"] in shown
    assert made["secret"] not in shown

    run("keys", "revoke", config, "team")
    assert find(run, made["secret"]) is None
    for name in ("team", made["key_id"]):
        again = run("keys", "revoke", config, name).stdout
        assert re.fullmatch(rf"{made['key_id']} \('team'\) was revoked already, on \d{{4}}-\d\d-\d\d .* UTC\.\n", again)
    assert run.refused("keys", "revoke", config, "teem") == "There is no key 'teem'. See: prefroute keys list"


def test_a_key_for_a_route_that_the_file_does_not_name_is_refused(run, config):
    said = run.refused("keys", "create", config, "team", "--route", "auto", "--route", "nosuch")

    assert said == "--route: Unknown route or model 'nosuch'. Available: auto, big, small."
    assert not (run.folder / "journal.db").exists()


def test_the_secret_is_the_last_line_of_what_is_printed(run, config):
    lines = run("keys", "create", config, "team").stdout.splitlines()

    assert find(run, lines[-1]) is not None


def test_the_report_compares_costs(run, filled):
    found = json.loads(run("report", filled, "--since", "30d", "--json", "-").stdout)
    shown = run("report", "sqlite:///journal.db").stdout

    assert found["n"] == 80
    (cost,) = found["costs"]
    # 80 requests of 1,000 and 100 tokens: 0.013 each at the prices of `big`; half went to `small` at 0.0012
    assert cost["always_strong_usd"] == pytest.approx(1.04)
    assert cost["cost_usd"] == pytest.approx(40 * 0.013 + 40 * 0.0012)
    assert cost["saved_share"] == pytest.approx(1 - (0.568 + cost["router_usd"]) / 1.04)
    assert "80 requests from" in shown
    assert "always strong" not in shown  # a URL knows no prices


def test_the_report_tells_what_was_refused_from_what_named_a_model(run, config):
    engine = open_database("sqlite:///journal.db", run.folder)
    refused = RequestRow("r1", time.time(), "chat", status=404, error="model_not_found")
    named = RequestRow("r2", time.time(), "chat", model="big", status=200)
    with engine.begin() as connection:
        write_rows(connection, [refused, named], [], instance="i", storing=Storing())
    engine.dispose()

    lines = run("report", config).stdout.splitlines()

    assert [line.split()[1:4:2] for line in lines if "(refused)" in line or "(named)" in line] == [
        ["(refused)", "-"],
        ["(named)", "big"],
    ]


def test_the_report_says_what_rests_on_estimates_and_what_it_compares_with(run, config):
    row = RequestRow("r1", time.time(), "chat", route="auto", model="big", status=200, reason="fallback")
    row.tokens_in, row.tokens_cached, row.tokens_out = 1000, 800, 100
    row.usage_source, row.cost_usd = "estimate", 0.25
    engine = open_database("sqlite:///journal.db", run.folder)
    with engine.begin() as connection:
        write_rows(connection, [row], [], instance="i", storing=Storing())
    engine.dispose()

    shown = " ".join(run("report", config).stdout.split())

    # the default share of 0.25: 200 * 10 + 800 * 2.5 + 100 * 30, and 200 * 1 + 800 * 0.25 + 100 * 2
    assert "always strong 0.0070; always weak 0.0006" in shown
    assert "the same tokens, as many of them cached, at that model's prices." in shown
    assert "Estimated: the tokens of 1 requests, and so 0.2500 USD of the cost." in shown
    assert "Fallbacks answered 1 requests for which another model had been chosen, and failed." in shown


@pytest.mark.slow
def test_the_journal_is_pruned_deleted_and_redacted(run, filled):
    assert "40 requests were deleted" in run("journal", "prune", filled, "--before", "39.5h").stdout
    assert (
        "2 requests were deleted" in run("journal", "delete", filled, "--request", "r000", "--request", "r001").stdout
    )
    assert "38 stored prompts were redacted" in run("journal", "redact", filled, "--pattern", "email").stdout
    assert "38 stored prompts were dropped" in run("journal", "redact", filled, "--everything").stdout
    assert "The journal has schema 0002." in run("journal", "upgrade", filled).stdout
    key = json.loads(run("keys", "create", filled, "team", "--json", "-").stdout)["key_id"]
    assert "0 requests were deleted" in run("journal", "delete", filled, "--key", key).stdout


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("--vectors", "vectors.safetensors")], ids=["text", "embeddings"])
def test_feedback_trains_a_router(run, filled, words):
    wrote = run("data", "from-journal", filled, "--out", "outcomes.parquet", *words).stdout
    embedder = ("--embedder", "stored:vectors.safetensors") if words else ()

    pair = ("--strong", "big", "--weak", "small", "--param", "k=5")
    run("train", "knn", "--data", "outcomes.parquet", *pair, *embedder, "--out", "router")

    assert "Wrote 40 rows to outcomes.parquet." in wrote
    assert "40 prompts were answered by two models or more" in wrote
    routed = run("route", "--router", "router", "a new prompt in words", "--json", "-").stdout
    assert 0 <= json.loads(routed)["win_rate"] <= 1


@pytest.mark.slow
def test_one_sided_feedback_says_that_it_trains_no_pair_and_adapts(run, filled):
    other_sides = [word for i in range(80) if i % 4 in (1, 2) for word in ("--request", f"r{i:03d}")]
    run("journal", "delete", filled, *other_sides)

    wrote = run("data", "from-journal", filled, "--out", "o.parquet", "--battles", "b.parquet").stdout
    refused = run.refused("train", "knn", "--data", "o.parquet", "--strong", "big", "--weak", "small", "--out", "k")
    run("adapt", "--data", "o.parquet", "--strong", "big", "--weak", "small", "--out", "adapted")

    assert "The journal holds nothing for b.parquet: it is not written." in wrote
    assert "Every prompt was answered by one model only" in wrote
    assert "prefroute adapt --data o.parquet" in wrote
    assert refused.startswith("No prompt was answered by both 'big' and 'small' (40 rows read)")
    assert (run.folder / "adapted" / "router.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "block"),
    [
        (page, i)
        for page in ("how-to/journal.md", "how-to/adapt.md")
        for i in range(len(SHELL.findall((DOCS / page).read_text())))
    ],
)
def test_what_a_page_does_with_a_journal_runs(run, filled, page, block):
    known = {"key_id": "key_1f0c36c2a5b1", "name": "of the page", "digest": b"", "rights": "[]", "created_at": 0.0}
    engine = open_database("sqlite:///journal.db", run.folder)
    with engine.begin() as connection:
        connection.execute(api_keys.insert().values(known))
    engine.dispose()

    for line in SHELL.findall((DOCS / page).read_text())[block].splitlines():
        program, *words = shlex.split(line, comments=True)
        assert program == "prefroute"
        run(*words)


@pytest.mark.slow
def test_a_key_that_gives_most_feedback_is_named_and_can_be_left_out(run, filled):
    key = json.loads(run("keys", "create", filled, "team", "--json", "-").stdout)["key_id"]
    with sqlite3.connect(run.folder / "journal.db") as connection:
        connection.execute("UPDATE feedback SET key_id = ? WHERE request_id < 'r060'", (key,))
    connection.close()

    wrote = run("data", "from-journal", filled, "--out", "o.parquet").stdout
    without = json.loads(
        run("data", "from-journal", filled, "--out", "o.parquet", "--without-key", key, "--json", "-").stdout
    )

    assert f"75% of this feedback came with {key}, which sent 0% of the requests." in wrote
    assert f"To leave it out: --without-key {key}" in wrote
    assert without["loud_key"] is None
    assert without["left_out"] == {f"given with {key}": 60}
    assert without["n"] == {"o.parquet": 10}


def test_commands_that_only_read_need_no_key_of_a_model(run, config):
    file = run.folder / config
    file.write_text(file.read_text().replace("base_url:", "api_key: ${NOT_SET}\n    base_url:", 1))
    run("keys", "create", config, "team")

    assert "team" in run("keys", "list", config).stdout
    assert "No requests." in run("report", config).stdout
    assert "environment variable NOT_SET is not set" in run.refused("serve", config, "--check")


def test_a_password_of_the_journal_is_needed_by_everybody(run, config):
    file = run.folder / config
    file.write_text(file.read_text().replace("sqlite:///journal.db", "postgresql://me:${NOT_SET}@127.0.0.1/db"))

    assert "journal.url: the environment variable NOT_SET is not set" in run.refused("keys", "list", config)


def test_feedback_whose_text_was_dropped_is_counted_as_such(run, filled):
    run("journal", "redact", filled, "--everything")

    message = run.refused("data", "from-journal", filled, "--out", "o.parquet")

    assert message.endswith("could be made of. 80 left out: its text is not stored (any more)")


def test_a_locked_journal_is_one_line_too(run, config):
    open_database("sqlite:///journal.db", run.folder).dispose()
    other = sqlite3.connect(run.folder / "journal.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    message = run.refused("keys", "create", config, "team", code=1)

    other.close()
    assert message == "The journal cannot be used now: OperationalError: database is locked. Try again later."


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("report", "sqlite:///nothing.db"), "There is no journal"),
        (("report", "{config}", "--since", "yesterday"), "--since must be an age as in 7d, 12h, 30m, or a date"),
        (("journal", "delete", "{config}"), "Give --request or --key, one of the two."),
        (("journal", "redact", "{config}"), "Give --pattern or --everything, one of the two."),
        (("journal", "delete", "{config}", "--key", "key_none"), "There is no key 'key_none'"),
        (
            ("data", "from-journal", "{config}", "--out", "o.csv", "--without-key", "key_none"),
            "There is no key 'key_none'",
        ),
        (("data", "from-journal", "{config}"), "Give --out for outcomes, --battles for battles, or both."),
        (
            ("data", "from-journal", "{config}", "--battles", "b.csv"),
            "holds no feedback that these tables could be made of.",
        ),
        (("keys", "create", "{config}", "x", "--right", "admin"), "Unknown right 'admin'"),
        (("keys", "list", "no.yaml"), "no.yaml"),
    ],
)
def test_a_mistake_is_one_line(run, config, words, message):
    open_database("sqlite:///journal.db", run.folder).dispose()

    assert message in run.refused(*(word.format(config=config) for word in words))
