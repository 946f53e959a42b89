"""What both databases promise: what is in the journal when, and that no row hurts another."""

import asyncio
import threading
from typing import Any

import pytest
from sqlalchemy import select, text
from tests.waiting import eventually

from prefroute.errors import JournalError
from prefroute.journal import AttemptRow, FeedbackResult, FeedbackRow, Redaction, RequestRow, Storing, open_journal
from prefroute.journal import statements as module
from prefroute.journal.escape import unescape
from prefroute.journal.tables import attempts, feedback, instances, requests, texts


def a_row(request_id="r1", **fields):
    values: dict[str, Any] = {"started_at": 1e9, "endpoint": "chat", "status": 200} | fields
    return RequestRow(request_id, **values)


@pytest.fixture
def statements(monkeypatch):
    """A list that grows by each INSERT into `requests`."""
    seen = []
    execute = module._execute

    def noted(connection, sql, values):
        if sql.startswith("INSERT INTO requests"):
            seen.append(sql)
        execute(connection, sql, values)

    monkeypatch.setattr(module, "_execute", noted)
    return seen


def test_every_field_of_a_row_comes_back(journal, rows_of):
    row = a_row(
        key_id="key_1",
        requested="auto",
        route="auto",
        model="weak",
        chosen="strong",
        router="f" * 64,
        win_rate=0.25,
        scores={"strong": 0.75, "weak": 0.5},
        threshold=0.5,
        propensity=0.9,
        reason="policy",
        attempts=[AttemptRow("strong", "upstream_timeout", None, 5.0), AttemptRow("weak", "ok", 200, 0.5)],
        error=None,
        is_stream=True,
        tokens_in=2**40,
        tokens_cached=2**39,
        tokens_out=7,
        usage_source="upstream",
        cost_usd=0.00125,
        scoring_s=0.0002,
        latency_s=5.75,
        first_token_s=5.25,
        prompt_hash="a" * 64,
        n_chars=1000,
    )

    journal.save(row)

    (stored,) = rows_of(journal.engine, requests)
    assert stored.pop("scores") == '{"strong":0.75,"weak":0.5}'
    assert stored.pop("running_in") is None
    assert stored == {name: getattr(row, name) for name in stored}
    tries = rows_of(journal.engine, attempts)
    assert [(each["n"], each["model"], each["outcome"], each["status"], each["latency_s"]) for each in tries] == [
        (0, "strong", "upstream_timeout", None, 5.0),
        (1, "weak", "ok", 200, 0.5),
    ]


def test_text_is_not_stored_unless_it_is_switched_on(journal, rows_of):
    journal.save(a_row(prompt="a secret plan", embedding=b"1234", embedder="e"))

    assert rows_of(journal.engine, texts) == []


def test_stored_text_is_redacted_first(url, rows_of):
    storing = Storing(prompts=True, embeddings=True, redaction=Redaction(["email", r"plan \w+"]))
    with open_journal(url, storing=storing) as journal:
        journal.save(a_row(prompt="ask ann@example.org for plan nine", embedding=b"1234", embedder="static@1"))

        (stored,) = rows_of(journal.engine, texts)
    assert stored == {
        "request_id": "r1",
        "prompt": "ask [email] for [redacted]",
        "embedding": b"1234",
        "embedder": "static@1",
    }


def test_a_request_that_has_begun_is_written_before_it_ends(journal, rows_of):
    row = a_row(status=None, model="weak")
    journal.begin(row)

    eventually(lambda: rows_of(journal.engine, requests))

    (stored,) = rows_of(journal.engine, requests)
    assert (stored["status"], stored["model"]) == (None, "weak")
    assert stored["running_in"] == rows_of(journal.engine, instances)[0]["instance"]

    row.status, row.model = 200, "strong"
    journal.save(row)

    (stored,) = rows_of(journal.engine, requests)
    assert (stored["status"], stored["model"], stored["running_in"]) == (200, "strong", None)


def test_a_request_that_ends_at_once_is_inserted_once(journal, rows_of, statements):
    row = a_row()

    journal.begin(row)
    journal.save(row)
    later = a_row("r2")
    journal.begin(later)
    journal.save(later)

    assert len(statements) == 2
    assert len(rows_of(journal.engine, requests)) == 2


def test_a_group_of_rows_is_one_insert(journal, rows_of, statements):

    async def finish_all():
        done = [journal.finish(a_row(f"r{i}")) for i in range(30)]
        await asyncio.gather(*done)

    held = threading.Event()
    writing = threading.Event()

    def hold(connection):
        writing.set()
        held.wait(10)

    worker = threading.Thread(target=lambda: journal._run(hold))
    worker.start()
    writing.wait(10)
    threading.Timer(0.05, held.set).start()
    asyncio.run(finish_all())
    worker.join()

    assert len(rows_of(journal.engine, requests)) == 30
    assert len(statements) == 1


def test_a_finished_row_is_never_overwritten(journal, rows_of):
    journal.save(a_row(model="weak"))

    journal.save(a_row(model="strong"))

    assert [row["model"] for row in rows_of(journal.engine, requests)] == ["weak"]


def test_a_row_twice_in_one_group_is_written_once(journal, rows_of):
    async def finish_twice():
        await asyncio.gather(*(journal.finish(a_row(attempts=[AttemptRow("m", "ok", 200, 1.0)])) for _ in range(2)))

    asyncio.run(finish_twice())

    assert len(rows_of(journal.engine, requests)) == 1
    assert len(rows_of(journal.engine, attempts)) == 1


def test_nul_and_lone_surrogates_are_stored_reversibly(url, rows_of):
    nasty = "a\x00b\ud800c\ue000d"
    with open_journal(url, storing=Storing(prompts=True)) as journal:
        journal.save(a_row(requested=nasty, prompt=nasty))

        assert unescape(rows_of(journal.engine, requests)[0]["requested"]) == nasty
        assert unescape(rows_of(journal.engine, texts)[0]["prompt"]) == nasty


@pytest.mark.parametrize(
    "fields",
    [{"tokens_in": 2**70}, {"model": object()}, {"key_id": "nul\x00"}, {"started_at": None}, {"error": "\ud800"}],
    ids=["too large", "not a value", "nul where none is expected", "missing", "surrogate"],
)
def test_a_row_that_the_database_refuses_hurts_no_other(journal, rows_of, fields):
    async def finish_all():
        rows = [a_row(f"r{i}", **(fields if i == 7 else {})) for i in range(20)]
        return await asyncio.gather(*(journal.finish(row) for row in rows), return_exceptions=True)

    results = asyncio.run(finish_all())

    refused = [i for i, result in enumerate(results) if result is not None]
    accepts_nul = journal.engine.dialect.name == "sqlite" and fields == {"key_id": "nul\x00"}
    assert refused == ([] if accepts_nul else [7])
    assert all(isinstance(results[i], JournalError) for i in refused)
    assert journal.counts()["refused"] == len(refused)
    assert len(rows_of(journal.engine, requests)) == 20 - len(refused)
    assert journal.is_healthy


def test_a_waiter_that_has_left_does_no_harm(journal, rows_of):
    async def leave():
        done = journal.finish(a_row())
        done.cancel()
        await journal.finish(a_row("r2"))

    asyncio.run(leave())

    assert len(rows_of(journal.engine, requests)) == 2


def test_rows_of_a_loop_that_has_ended_are_written_all_the_same(journal, rows_of):
    async def leave():
        journal.finish(a_row())

    asyncio.run(leave())

    eventually(lambda: rows_of(journal.engine, requests))


def test_closing_writes_what_waits_and_interrupts_what_runs(url, rows_of):
    journal = open_journal(url)
    journal.begin(a_row("running", status=None))

    async def leave():
        for i in range(100):
            journal.finish(a_row(f"r{i}"))

    asyncio.run(leave())
    journal.close()

    with open_journal(url) as again:
        stored = rows_of(again.engine, requests)
    ended = [(row["status"], row["error"], row["running_in"]) for row in stored if row["request_id"] == "running"]
    assert len(stored) == 101
    assert ended == [(None, "interrupted", None)]


def test_a_closed_journal_takes_no_rows(journal):
    journal.close()

    with pytest.raises(JournalError, match="is closed, or too many rows wait"):
        journal.save(a_row())
    assert journal.counts()["lost"] == 1


def give(journal, **fields):
    values: dict[str, Any] = {"request_id": "r1", "key_id": "key_1", "given_at": 1e9} | fields
    row = FeedbackRow(**values)

    async def add():
        return await journal.add_feedback(row)

    return asyncio.run(add())


def test_feedback_is_taken_once(journal, rows_of):
    journal.save(a_row(key_id="key_1"))

    assert give(journal, score=0.75) is FeedbackResult.STORED
    assert give(journal, preferred="weak") is FeedbackResult.TWICE
    stored = [(row["score"], row["preferred"]) for row in rows_of(journal.engine, feedback)]
    assert stored == [(0.75, None)]


@pytest.mark.parametrize("key_id", ["key_2", None])
def test_feedback_of_another_key_looks_like_that_on_no_request(journal, rows_of, key_id):
    journal.save(a_row(key_id="key_1"))

    assert give(journal, key_id=key_id, score=1.0) is FeedbackResult.UNKNOWN
    assert give(journal, request_id="r2", score=1.0) is FeedbackResult.UNKNOWN
    assert rows_of(journal.engine, feedback) == []


@pytest.mark.parametrize("request_id", ["", "a\x00b", "\ud800", "'; DROP TABLE requests; --", "x" * 100_000])
def test_feedback_on_an_odd_id_is_feedback_on_no_request(journal, request_id):
    assert give(journal, request_id=request_id, score=1.0) is FeedbackResult.UNKNOWN


@pytest.mark.parametrize("status", [None, 502])
def test_feedback_needs_an_answer(journal, status):
    row = a_row(key_id="key_1", status=status)
    journal.begin(row)
    if status is not None:
        journal.save(row)
    else:
        eventually(lambda: give(journal, score=1.0) is not FeedbackResult.UNKNOWN)

    assert give(journal, score=1.0) is FeedbackResult.UNFINISHED


def test_the_journal_can_be_read_while_it_is_written(journal):
    with journal.engine.connect() as connection:
        connection.execute(text("SELECT count(*) FROM requests")).scalar_one()

        journal.save(a_row())

    with journal.engine.connect() as connection:
        assert connection.execute(select(requests.c.request_id)).scalars().all() == ["r1"]


def test_a_row_of_a_client_that_was_refused_says_so_even_if_it_was_written_meanwhile(journal, rows_of):
    row = a_row(attempts=[AttemptRow("m", "ok", 200, 1.0)], cost_usd=0.5)
    journal.save(row)

    journal.refuse(row, 503)
    journal.save(a_row("r2"))

    stored = rows_of(journal.engine, requests)[0]
    assert (stored["status"], stored["error"], stored["cost_usd"]) == (503, "log_store_unavailable", 0.5)
    assert len(rows_of(journal.engine, attempts)) == 1


def test_a_begun_request_is_written_while_the_thread_is_attentive(journal, rows_of):
    journal.begin(a_row("r1", status=None))
    eventually(lambda: rows_of(journal.engine, requests))

    journal.begin(a_row("r2", status=None))  # nothing wakes the thread

    eventually(lambda: len(rows_of(journal.engine, requests)) == 2)
