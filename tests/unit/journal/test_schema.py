"""Migrations: what they make is what the code expects, together or alone, and nothing else is touched."""

import sqlite3
import threading
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from prefroute.errors import ConfigError
from prefroute.journal import open_database
from prefroute.journal import schema as schema_module
from prefroute.journal.database import connect
from prefroute.journal.schema import HEAD, upgrade
from prefroute.journal.tables import metadata


def test_the_migrations_make_the_tables_of_the_code(engine):
    with engine.connect() as connection:
        difference = compare_metadata(MigrationContext.configure(connection), metadata)

    assert difference == []


def test_head_is_the_newest_step():
    folder = Path(schema_module.__file__).parent / "migrations"

    assert ScriptDirectory(folder).get_heads() == [HEAD]


def test_a_second_upgrade_does_nothing(url):
    first = connect(url)

    assert upgrade(first) is None
    assert upgrade(first) == HEAD
    first.dispose()


def test_a_journal_of_the_first_version_is_upgraded_and_keeps_its_rows(url):
    engine = connect(url)
    with engine.begin() as connection:
        config = schema_module._check_known(connection, None)
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        row = "('r0', 1.0, 'chat', false, 7)"
        connection.execute(
            text(f"INSERT INTO requests (request_id, started_at, endpoint, is_stream, tokens_in) VALUES {row}")
        )

    assert upgrade(engine) == "0001"

    with engine.connect() as connection:
        assert connection.execute(text("SELECT tokens_in, tokens_cached FROM requests")).all() == [(7, None)]
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_instances_that_migrate_at_once_wait_for_each_other(url):
    problems = []
    start = threading.Barrier(6)

    def migrate():
        start.wait(10)
        try:
            open_database(url).dispose()
        except Exception as exc:
            problems.append(exc)

    threads = [threading.Thread(target=migrate) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert problems == []


def test_a_migration_that_fails_leaves_the_database_as_it_was(url, monkeypatch):
    engine = connect(url)

    def fail(connection, found):
        connection.execute(text("CREATE TABLE half (id INTEGER)"))
        raise RuntimeError("killed")

    monkeypatch.setattr(schema_module, "_migrate", fail)
    with pytest.raises(RuntimeError, match="killed"):
        upgrade(engine)
    monkeypatch.undo()

    assert inspect(engine).get_table_names() == []
    upgrade(engine)
    engine.dispose()


def test_a_journal_of_a_newer_version_is_refused(engine, url):
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(ConfigError) as caught:
        open_database(url)

    assert str(caught.value) == (
        f"The journal was made by a newer prefroute (schema 9999, this one knows up to {HEAD}). Upgrade prefroute, or "
        "use another journal."
    )


def test_a_database_that_holds_something_else_is_left_alone(url):
    engine = connect(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE requests (id INTEGER)"))

    with pytest.raises(ConfigError, match=r"has a table `requests` that is not prefroute's"):
        open_database(url)

    assert inspect(engine).get_table_names() == ["requests"]
    engine.dispose()


def test_a_file_that_is_no_database_is_refused(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("remember the milk " * 100)

    with pytest.raises(ConfigError, match="is not a journal of prefroute: DatabaseError: file is not a database"):
        open_database(f"sqlite:///{file}")

    assert file.read_text() == "remember the milk " * 100


def test_only_the_owner_can_read_a_new_journal(tmp_path):
    open_database("sqlite:///journal.db", tmp_path).dispose()

    assert (tmp_path / "journal.db").stat().st_mode & 0o077 == 0
    with sqlite3.connect(tmp_path / "journal.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "The journal's URL cannot be read. Wanted: sqlite:///FILE or postgresql://USER@HOST/DATABASE."),
        ("mysql://h/d", "cannot be kept in 'mysql'"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite:///no/such/folder/j.db", "folder 'no/such/folder' does not exist"),
        ("sqlite:///.", "must be a file, got the folder"),
    ],
)
def test_a_url_that_cannot_be_a_journal_is_refused(url, message, tmp_path):
    with pytest.raises(ConfigError) as caught:
        open_database(url, tmp_path)

    assert message.replace("no/such", f"{tmp_path}/no/such") in str(caught.value)


def test_a_password_stands_in_no_message():
    from prefroute.errors import JournalError

    with pytest.raises(JournalError) as caught:
        open_database("postgresql://someone:hunter2@127.0.0.1:1/none")

    assert "cannot be opened" in str(caught.value)
    assert "hunter2" not in str(caught.value)
