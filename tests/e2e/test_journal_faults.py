"""The journal when things break: killed processes, locked files, full disks, a database that goes away."""

import json
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import select, text
from tests.waiting import eventually

from prefroute.errors import JournalError
from prefroute.journal import RequestRow, open_database, open_journal, writer
from prefroute.journal import journal as journal_module
from prefroute.journal.tables import attempts, requests

SERVERS = Path(__file__).parents[1] / "servers"


def a_row(request_id):
    return RequestRow(request_id, time.time(), "chat", status=200)


def stored(url):
    """Rows by id."""
    engine = open_database(url)
    with engine.connect() as connection:
        rows = {row["request_id"]: dict(row) for row in connection.execute(select(requests)).mappings()}
    engine.dispose()
    return rows


def write_and_kill(url, seconds, *words):
    """Ids that a process was told are safe before it was killed in the middle of its work."""
    script = [sys.executable, str(SERVERS / "journal_writer.py"), url, *words]
    process = subprocess.Popen(script, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(seconds)
    finally:
        process.send_signal(signal.SIGKILL)
    told, _ = process.communicate()
    complete = told[: told.rfind("\n") + 1]  # a line that was cut is an id that nobody was told
    return complete.split()


def check_kills(url, n_kills):
    """Kills `n_kills` processes at random moments; no row that one was told is safe may be missing."""
    rng = random.Random(0)
    told = [request_id for _ in range(n_kills) for request_id in write_and_kill(url, rng.uniform(0.05, 0.5))]

    rows = stored(url)
    assert len(told) > 10 * n_kills
    assert [request_id for request_id in told if rows.get(request_id, {}).get("status") != 200] == []

    open_journal(url).close()
    rows = stored(url)
    assert {row["error"] for row in rows.values()} <= {None, "interrupted"}
    assert [row["request_id"] for row in rows.values() if row["running_in"] is not None] == []
    return told


@pytest.mark.slow
def test_ten_killed_processes_lose_no_acknowledged_row_on_sqlite(tmp_path):
    url = f"sqlite:///{tmp_path / 'journal.db'}"

    check_kills(url, 10)

    with sqlite3.connect(tmp_path / "journal.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


@pytest.mark.slow
def test_ten_killed_processes_lose_no_acknowledged_row_on_postgresql(postgres):
    check_kills(postgres.empty_database(), 10)


@pytest.mark.slow
def test_what_a_killed_process_left_unfinished_is_interrupted_at_the_next_start(tmp_path):
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    write_and_kill(url, 0.5, "--begin-only")
    running = [row for row in stored(url).values() if row["running_in"] is not None]

    open_journal(url).close()

    rows = stored(url)
    assert len(running) > 8
    assert {(row["status"], row["error"], row["running_in"]) for row in rows.values()} == {(None, "interrupted", None)}


@pytest.mark.slow
def test_a_full_disk_fails_in_time_and_recovers_without_a_restart(tmp_path):
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    script = [sys.executable, str(SERVERS / "journal_disk_full.py"), url]

    done = subprocess.run(script, capture_output=True, text=True, timeout=120, check=True)

    found = json.loads(done.stdout)
    rows = stored(url)
    assert 0 < len(found["safe"]) < 60
    assert found["healthy_when_full"] is False
    assert (found["safe_after"], found["healthy_after"]) == (True, True)
    assert found["counts"] == {"waiting": 0, "lost": 0, "refused": 0}
    assert set(rows) == {f"r{n}" for n in range(61)}  # what could not be written was kept, and written in the end
    with sqlite3.connect(tmp_path / "journal.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


@pytest.fixture
def impatient(monkeypatch):
    """Rows are given up on soon, so that a test need not wait for what a server would."""
    monkeypatch.setattr(writer, "PATIENCE_S", 0.5)
    monkeypatch.setattr(writer, "_RETRY_S", 0.02)


def hold_lock(file):
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    return other


def test_a_short_lock_is_waited_for(tmp_path):
    file = tmp_path / "journal.db"
    with open_journal(f"sqlite:///{file}") as journal:
        other = hold_lock(file)
        threading.Timer(0.2, lambda: other.execute("COMMIT")).start()

        journal.save(a_row("r1"))

        assert journal.is_healthy
        other.close()
    assert set(stored(f"sqlite:///{file}")) == {"r1"}


def test_a_long_lock_is_reported_and_the_row_is_written_afterwards(tmp_path, impatient):
    file = tmp_path / "journal.db"
    with open_journal(f"sqlite:///{file}") as journal:
        other = hold_lock(file)

        with pytest.raises(JournalError, match="cannot be written now"):
            journal.save(a_row("r1"))
        eventually(lambda: not journal.is_healthy)
        with pytest.raises(JournalError, match="cannot be written now"):  # at once: it is known
            journal.save(a_row("r2"))
        assert journal.counts()["waiting"] == 2
        other.execute("COMMIT")
        other.close()

        eventually(lambda: journal.is_healthy and not journal.counts()["waiting"])
        assert journal.counts() == {"waiting": 0, "lost": 0, "refused": 0}
    assert set(stored(f"sqlite:///{file}")) == {"r1", "r2"}


def test_rows_beyond_what_is_kept_are_refused_and_counted(tmp_path, impatient, monkeypatch):
    monkeypatch.setattr(writer, "MAX_KEPT", 5)
    file = tmp_path / "journal.db"
    with open_journal(f"sqlite:///{file}") as journal:
        other = hold_lock(file)
        results = []

        def save(i):
            try:
                journal.save(a_row(f"r{i}"))
            except JournalError as error:
                results.append(str(error))

        threads = [threading.Thread(target=save, args=(i,)) for i in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        lost = journal.counts()["lost"]
        other.execute("COMMIT")
        other.close()
        eventually(lambda: journal.is_healthy and not journal.counts()["waiting"])

    assert len(results) == 20
    assert lost == sum("too many rows wait" in each for each in results) >= 5
    assert len(stored(f"sqlite:///{file}")) == 20 - lost


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "BEAT_S", 0.1)
    file = tmp_path / "journal.db"
    with open_journal(f"sqlite:///{file}") as journal:
        journal.save(a_row("before"))
        for path in tmp_path.iterdir():
            path.rename(tmp_path / f"old-{path.name.removeprefix('journal.')}")
        names = iter(f"after-{n}" for n in range(10_000))

        def is_in_the_new_file():
            name = next(names)
            journal.save(a_row(name))
            return file.exists() and name in stored(f"sqlite:///{file}")

        eventually(is_in_the_new_file)

    assert "before" not in stored(f"sqlite:///{file}")
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_rows_wait_for_postgresql_to_come_back_and_none_is_doubled(postgres, impatient):
    url = postgres.empty_database()
    with open_journal(url) as journal:
        journal.save(a_row("before"))
        postgres.stop()
        try:
            with pytest.raises(JournalError, match="cannot be written now"):
                journal.save(a_row("during"))
            eventually(lambda: not journal.is_healthy)
        finally:
            postgres.start()
        eventually(lambda: journal.is_healthy)

        journal.save(a_row("after"))
    assert set(stored(url)) == {"before", "during", "after"}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_database_without_its_table_is_away_and_no_row_is_refused_for_it(kind, tmp_path, request, impatient):
    is_file = kind == "sqlite"
    url = f"sqlite:///{tmp_path / 'j.db'}" if is_file else request.getfixturevalue("postgres").empty_database()
    with open_journal(url) as journal:
        with journal.engine.begin() as connection:
            connection.execute(text("ALTER TABLE requests RENAME TO hidden"))
        with pytest.raises(JournalError, match="cannot be written now"):
            journal.save(a_row("r1"))
        eventually(lambda: not journal.is_healthy)

        with journal.engine.begin() as connection:
            connection.execute(text("ALTER TABLE hidden RENAME TO requests"))
        eventually(lambda: journal.is_healthy)

        assert journal.counts() == {"waiting": 0, "lost": 0, "refused": 0}
    assert set(stored(url)) == {"r1"}


def test_a_writer_that_dies_leaves_nobody_waiting(tmp_path, monkeypatch):
    with open_journal(f"sqlite:///{tmp_path / 'j.db'}") as journal:
        monkeypatch.setattr(journal._writer, "_write_group", lambda *_: 1 / 0)
        monkeypatch.setattr(threading, "excepthook", lambda _: None)

        with pytest.raises(JournalError, match="is closed"):
            journal.save(a_row("r1"))
        with pytest.raises(JournalError, match="is closed"):
            journal.save(a_row("r2"))

        assert not journal.is_healthy


def test_a_connection_that_the_server_cuts_loses_no_row(postgres):
    import psycopg

    url = postgres.empty_database()
    with open_journal(url) as journal, psycopg.connect(url, autocommit=True) as admin:
        for n in range(5):
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'prefroute' AND pid <> pg_backend_pid()"
            )
            row = a_row(f"r{n}")
            journal.save(row)

    assert set(stored(url)) == {f"r{n}" for n in range(5)}


def test_a_repeated_write_after_an_unknown_commit_doubles_nothing(tmp_path, monkeypatch):
    """The commit worked and its answer was lost: the same rows are written again."""
    from prefroute.journal import AttemptRow

    url = f"sqlite:///{tmp_path / 'journal.db'}"
    with open_journal(url) as journal:
        row = a_row("r1")
        row.attempts.append(AttemptRow("m", "ok", 200, 1.0))
        commit = journal._writer._commit

        def commit_and_fail(group, begun):
            from sqlalchemy.exc import OperationalError

            commit(group, begun)
            monkeypatch.setattr(journal._writer, "_commit", commit)
            raise OperationalError("COMMIT", {}, sqlite3.OperationalError("connection lost"))

        monkeypatch.setattr(journal._writer, "_commit", commit_and_fail)
        journal.save(row)

        with journal.engine.connect() as connection:
            assert len(connection.execute(select(requests)).all()) == 1
            assert len(connection.execute(select(attempts)).all()) == 1


def test_who_looks_into_the_journal_of_a_running_gateway_takes_nothing_away(tmp_path):
    """SQLite's locks are the process's: closing the file in any way drops them, and the next reader deletes the log."""
    look = (
        "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute('select count(*) from requests').fetchone())"
    )
    seen = []

    with open_journal(f"sqlite:///{tmp_path / 'journal.db'}") as journal:
        for n in range(3):
            journal.save(a_row(f"r{n}"))
            words = [sys.executable, "-c", look, str(tmp_path / "journal.db")]
            seen.append(subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip())

    assert seen == ["1", "2", "3"]
