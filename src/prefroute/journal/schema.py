"""Brings a database to the schema of this version, whatever it held before.

The doors are `upgrade`, and `examine` to only look. An upgrade is one transaction behind a lock: of two instances that
start together one migrates while the other waits, and a process that is killed halfway leaves the old schema. Alembic
is imported only where there is something to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, select, text
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.sql import column, table

from prefroute.errors import ConfigError, JournalError
from prefroute.journal.database import reason

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["HEAD", "examine", "upgrade"]

HEAD = "0002"
"""The newest step in `migrations/versions`."""

_LOCK = 0x7072656672  # "prefr": the number of PostgreSQL's advisory lock
_VERSION = table("alembic_version", column("version_num"))


def upgrade(engine: Engine) -> str | None:
    """Migrate to `HEAD`.

    Returns:
        The step that the database was at; None for an empty one.

    Raises:
        ConfigError: If the database was made by a newer version, or is not a journal.
        JournalError: If it cannot be reached or stays locked.
    """
    with _explained(engine), engine.connect() as connection:
        found = _version(connection)
        if found == HEAD:
            return found
        connection.rollback()
        _lock(connection)
        found = _version(connection)  # another instance may have been quicker
        if found != HEAD:
            _migrate(connection, found)
        connection.commit()
    return found


def examine(engine: Engine) -> str | None:
    """The step that a database is at, None for an empty one; it stays as it is.

    Raises:
        ConfigError: As for `upgrade`.
        JournalError: If it cannot be reached.
    """
    with _explained(engine), engine.connect() as connection:
        found = _version(connection)
        if found != HEAD:
            _check_known(connection, found)
    return found


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(_VERSION.name):
        return None
    return connection.execute(select(_VERSION.c.version_num)).scalar_one_or_none()


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # Python's driver begins by itself only before INSERT and kin
    else:
        connection.execute(text("SET LOCAL lock_timeout = '60s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})


def _migrate(connection: Connection, found: str | None) -> None:
    from alembic import command

    config = _check_known(connection, found)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _check_known(connection: Connection, found: str | None) -> Config:
    """Refuse a database that cannot be migrated from where it is."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    known = {step.revision for step in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise ConfigError(
            f"The journal was made by a newer prefroute (schema {found}, this one knows up to {HEAD}). "
            "Upgrade prefroute, or use another journal."
        )
    if found is None and inspect(connection).has_table("requests"):
        raise ConfigError("The database has a table `requests` that is not prefroute's. Use a database of its own.")
    return config


@contextmanager
def _explained(engine: Engine) -> Iterator[None]:
    where = engine.url.render_as_string(hide_password=True)
    try:
        yield
    except OperationalError as exc:
        raise JournalError(f"The journal {where} cannot be opened: {reason(exc)}. Check that it is up.") from exc
    except DatabaseError as exc:
        raise ConfigError(f"{where} is not a journal of prefroute: {reason(exc)}. Use another database.") from exc
