"""The journal when its database stands and answers nothing; what the gateway makes of it is in tests/chaos."""

import asyncio
import time

import pytest
from sqlalchemy import select
from tests.waiting import eventually

from prefroute.errors import JournalError
from prefroute.journal import AttemptRow, FeedbackRow, RequestRow, open_database, open_journal, writer
from prefroute.journal import journal as journal_module
from prefroute.journal.tables import attempts, feedback, requests


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(writer, "PATIENCE_S", 0.5)
    monkeypatch.setattr(journal_module, "PATIENCE_S", 0.5)


def a_row(request_id):
    attempt = AttemptRow("m", "ok", 200, 1.0)
    return RequestRow(request_id, time.time(), "chat", status=200, attempts=[attempt])


def stored(url, table):
    engine = open_database(url)
    with engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(select(table).order_by(table.c.request_id)).mappings()]
    engine.dispose()
    return rows


def test_who_waits_for_a_server_that_hangs_is_told_and_the_row_is_written_once_it_answers(postgres):
    url = postgres.empty_database()

    async def finish(*names):
        return await asyncio.gather(*(journal.finish(a_row(name)) for name in names), return_exceptions=True)

    with open_journal(url) as journal:
        journal.save(a_row("before"))
        with postgres.hanging():
            told = asyncio.run(finish("r1", "r2"))
            with pytest.raises(JournalError, match="cannot be written now"):
                journal.save(a_row("r3"))
            assert not journal.is_healthy
        eventually(lambda: journal.is_healthy and not journal.counts()["waiting"])
        journal.save(a_row("after"))
        assert journal.counts() == {"waiting": 0, "lost": 0, "refused": 0}

    assert [str(error) for error in told] == ["The journal cannot be written now. Ask again later."] * 2
    assert [row["request_id"] for row in stored(url, requests)] == ["after", "before", "r1", "r2", "r3"]
    assert len(stored(url, attempts)) == 5


def test_a_journal_whose_server_hangs_while_nobody_asks_is_not_healthy(postgres, monkeypatch):
    monkeypatch.setattr(journal_module, "BEAT_S", 0.1)
    with open_journal(postgres.empty_database()) as journal:
        with postgres.hanging():
            eventually(lambda: not journal.is_healthy)
        eventually(lambda: journal.is_healthy)


def test_a_journal_whose_server_hangs_ends_all_the_same_and_counts_what_is_lost(postgres):
    journal = open_journal(postgres.empty_database())
    journal.save(a_row("before"))
    with postgres.hanging():
        with pytest.raises(JournalError):
            journal.save(a_row("lost"))
        begin = time.monotonic()

        journal.close()

        took_s = time.monotonic() - begin
        assert journal.counts()["lost"] == 1
        eventually(lambda: not journal._writer._thread.is_alive() and not journal._watch.is_alive())
    assert took_s < 5  # not for as long as it hangs


def test_feedback_that_was_given_up_is_not_stored_later(postgres):
    url = postgres.empty_database()

    async def give():
        await journal.add_feedback(FeedbackRow("r1", None, time.time(), score=1.0))

    with open_journal(url) as journal:
        journal.save(a_row("r1"))
        with postgres.hanging(), pytest.raises(JournalError):
            asyncio.run(give())
        eventually(lambda: journal.is_healthy)
        journal.save(a_row("r2"))

    assert stored(url, feedback) == []
