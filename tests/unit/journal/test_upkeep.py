"""Taking things out: all of it, nothing else, in small steps, and gone from the file."""

import pytest
from sqlalchemy import event

from prefroute.errors import ConfigError
from prefroute.journal import PATTERNS, AttemptRow, FeedbackRow, Redaction, RequestRow, Storing, open_journal, upkeep
from prefroute.journal.feedback import add_feedback
from prefroute.journal.statements import write_rows
from prefroute.journal.tables import attempts, feedback, requests, texts
from prefroute.journal.upkeep import delete_key, delete_requests, prune, redact

EVERYTHING = Storing(prompts=True, embeddings=True)


def fill(engine, n=25, prompt="write to ann@example.org"):
    """Rows 0 to n - 1, one a second, of two keys in turn, each with an attempt, text and feedback."""
    rows = [
        RequestRow(
            f"r{i:03d}",
            float(i),
            "chat",
            key_id=f"key_{i % 2}",
            status=200,
            attempts=[AttemptRow("m", "ok", 200, 1.0)],
            prompt=prompt,
            embedding=b"12",
            embedder="e",
        )
        for i in range(n)
    ]
    with engine.begin() as connection:
        write_rows(connection, rows, [], instance="i", storing=EVERYTHING)
        for row in rows:
            add_feedback(connection, FeedbackRow(row.request_id, row.key_id, 0.0, score=1.0))


def left(engine, rows_of):
    """Ids that are left, which must be the same in each table."""
    found = [[row["request_id"] for row in rows_of(engine, table)] for table in (requests, attempts, texts, feedback)]
    assert [sorted(ids) for ids in found] == [sorted(found[0])] * 4
    return sorted(found[0])


@pytest.fixture
def small_steps(monkeypatch):
    monkeypatch.setattr(upkeep, "BATCH", 4)


def test_pruning_deletes_what_is_older_and_all_that_belongs_to_it(engine, rows_of, small_steps):
    fill(engine)
    seen: list[int] = []

    assert prune(engine, 10.0, seen.append) == 10

    assert left(engine, rows_of) == [f"r{i:03d}" for i in range(10, 25)]
    assert seen == [4, 8, 10]


def test_each_step_is_a_transaction_of_its_own(engine, small_steps):
    fill(engine)
    commits: list[object] = []
    event.listen(engine, "commit", commits.append)

    prune(engine, 10.0)

    assert len(commits) >= 3


def test_a_key_s_requests_are_deleted_and_no_others(engine, rows_of, small_steps):
    fill(engine)

    assert delete_key(engine, "key_1") == 12

    assert left(engine, rows_of) == [f"r{i:03d}" for i in range(0, 25, 2)]


def test_requests_are_deleted_by_id(engine, rows_of, small_steps):
    fill(engine)

    assert delete_requests(engine, ["r001", "unknown", "r002", "r003", "r004", "r005"]) == 5
    assert delete_requests(engine, ["r001"]) == 0

    assert len(left(engine, rows_of)) == 20


@pytest.mark.parametrize(
    "take_out",
    [
        lambda engine: prune(engine, 10.0),
        lambda engine: delete_key(engine, "key_0"),
        lambda engine: delete_requests(engine, [f"r{i:03d}" for i in range(10)]),
        lambda engine: redact(engine, None),
    ],
    ids=["prune", "delete_key", "delete_requests", "redact"],
)
def test_after_each_step_it_rests_for_as_long_as_the_step_took(engine, small_steps, monkeypatch, take_out):
    class Clock:
        def __init__(self):
            self.now, self.rests = 0.0, []

        def monotonic(self):
            self.now += 1.0
            return self.now

        def sleep(self, seconds):
            self.rests.append(seconds)

    fill(engine, n=10)
    clock = Clock()
    monkeypatch.setattr(upkeep, "time", clock)

    take_out(engine)

    assert len(clock.rests) >= 2
    assert set(clock.rests) == {1.0}


def test_redaction_rewrites_what_is_stored_and_drops_its_embedding(engine, rows_of, small_steps):
    fill(engine, 6)
    fill_other = RequestRow("other", 0.0, "chat", status=200, prompt="nothing here\x00", embedding=b"12", embedder="e")
    with engine.begin() as connection:
        write_rows(connection, [fill_other], [], instance="i", storing=EVERYTHING)

    assert redact(engine, Redaction(["email"])) == 6
    assert redact(engine, Redaction(["email"])) == 0

    stored = {row["request_id"]: (row["prompt"], row["embedding"]) for row in rows_of(engine, texts)}
    assert stored.pop("other")[1] == b"12"
    assert set(stored.values()) == {("write to [email]", None)}


def test_all_text_can_be_dropped(engine, rows_of, small_steps):
    fill(engine)

    assert redact(engine, None) == 25

    assert rows_of(engine, texts) == []
    assert len(rows_of(engine, requests)) == 25


@pytest.mark.parametrize("take_out", [lambda e: redact(e, Redaction(["canary"])), lambda e: prune(e, 1e12)])
def test_what_was_taken_out_is_gone_from_the_files(tmp_path, take_out):
    with open_journal(f"sqlite:///{tmp_path / 'j.db'}") as journal:
        fill(journal.engine, 50, "a yellow canary " * 100)
        on_disk = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert b"canary" in on_disk

        take_out(journal.engine)

        assert b"canary" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_a_server_deletes_what_is_too_old(url, rows_of):
    import time

    with open_journal(url, retention_days=1.0) as journal:
        journal.save(RequestRow("old", time.time() - 2 * 86_400, "chat", status=200))
        journal.save(RequestRow("new", time.time(), "chat", status=200))
        journal._next_prune = 0.0  # the next look is a minute away
        deadline = time.monotonic() + 10
        while len(rows_of(journal.engine, requests)) == 2:
            assert time.monotonic() < deadline, "nothing was deleted"
            time.sleep(0.01)

        assert [row["request_id"] for row in rows_of(journal.engine, requests)] == ["new"]


@pytest.mark.parametrize(
    ("name", "text", "redacted"),
    [
        ("email", "to: a.b+c@mail.example.org.", "to: [email]."),
        ("phone", "call +44 (0)20 7946 0958 now", "call [phone] now"),
        ("card", "pay 4111 1111 1111 1111!", "pay [card]!"),
        ("iban", "from DE89 3704 0044 0532 0130 00", "from [iban]"),
        ("ip", "host 192.168.10.1:80", "host [ip]:80"),
        ("secret", "use sk-proj-abcdefghijklmnop1234", "use [secret]"),
        ("email", "3 @ 4 is not one", "3 @ 4 is not one"),
        ("phone", "in 2026 there were 12 of 345", "in 2026 there were 12 of 345"),
        ("ip", "version 1.2.3", "version 1.2.3"),
    ],
)
def test_named_patterns_find_what_they_name(name, text, redacted):
    assert Redaction([name])(text) == redacted


@pytest.mark.parametrize("name", PATTERNS)
def test_no_named_pattern_is_slow_on_a_long_text(name):
    redaction = Redaction([name])

    for unit in ("x", "1", "1 ", "a.b-", "A1 ", "sk-", "1.", "AB12 ", "@", "a@b."):
        redaction(unit * 50_000)  # a quadratic pattern would take minutes


def test_a_replacement_is_never_read_as_a_group():
    assert Redaction([r"(a)\w"])("ab") == "[redacted]"


@pytest.mark.parametrize(("pattern", "message"), [("(", "nor a regular expression"), ("x*", "matches the empty text")])
def test_a_pattern_that_cannot_work_is_refused(pattern, message):
    with pytest.raises(ConfigError, match=message):
        Redaction([pattern])


def test_misspelt_name_of_a_redaction_is_refused_and_the_word_itself_can_be_meant():
    with pytest.raises(ConfigError, match=r"Unknown redaction 'emial'\. Did you mean 'email'\?"):
        Redaction(["emial"])
    assert Redaction(["(emial)"])("an emial") == "an [redacted]"
