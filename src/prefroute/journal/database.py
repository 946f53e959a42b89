"""From a URL to an engine: which databases the journal takes, and how each is set up.

The door is `connect`; `limit_answers` is for servers, `is_there` for those who only look. It must not know the tables.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, TimeoutError

from prefroute.errors import ConfigError, MissingExtraError

__all__ = ["connect", "file_identity", "is_there", "is_transient", "limit_answers", "reason"]

T = TypeVar("T")

_BUSY_MS = 1_000  # one try at a lock; the writer repeats tries, and between two of them it can say that it is stuck
_POSTGRES = {
    "connect_timeout": 5,
    # a server that vanished without a word is noticed in seconds, not in the two hours of the kernel's default
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 10_000,
    "options": "-c lock_timeout=5s -c idle_in_transaction_session_timeout=60s",
    "application_name": "prefroute",
}


def connect(url: str, folder: Path | None = None, *, make: bool = True) -> Engine:
    """An engine for `sqlite:///FILE` or `postgresql://...`; no connection is made yet.

    Args:
        url: As SQLAlchemy writes it. `postgresql://` means the driver psycopg.
        folder: Where a relative SQLite path starts; None for the working directory.
        make: Whether an SQLite file that does not exist is made.

    Raises:
        ConfigError: If the URL is of another database, or names no file, or none that exists.
        MissingExtraError: If PostgreSQL's driver is not installed.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed, folder or Path.cwd(), make)
    return _postgres(parsed)


def is_there(url: str, folder: Path | None = None) -> bool:
    """Whether there is a database to connect to, or else a file can be made, which it is not.

    Args:
        url: As for `connect`.
        folder: As for `connect`.

    Raises:
        ConfigError: As for `connect`; and if the file cannot be made.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() != "sqlite":
        return True
    file = _file(parsed, folder or Path.cwd())
    if not file.exists() and not os.access(file.parent, os.W_OK | os.X_OK):
        raise _not_writable(file, os.strerror(errno.EACCES))
    return file.exists()


def file_identity(engine: Engine) -> tuple[int, int] | None:
    """Which file an SQLite engine's path leads to now; None for PostgreSQL, and where there is no file.

    A process that has the file open goes on writing to it after somebody has deleted or replaced it.
    """
    if engine.dialect.name != "sqlite":
        return None
    try:
        found = os.stat(str(engine.url.database))
    except OSError:
        return None
    return found.st_dev, found.st_ino


def limit_answers(engine: Engine, seconds: float) -> None:
    """Have new connections break off when PostgreSQL takes longer over a statement, as where its machine hangs.

    Its own `statement_timeout` is kept by the server, which does not help against one that has stopped. SQLite is a
    library and cannot stop by itself.

    Args:
        engine: Nobody may be using it.
        seconds: For each statement.
    """
    if engine.dialect.name != "postgresql":
        return
    import psycopg

    class _Impatient(psycopg.Connection[Any]):
        def wait(self, gen: Generator[Any, Any, T], *args: Any, **more: Any) -> T:
            return super().wait(self._until(gen, time.monotonic() + seconds), *args, **more)

        def _until(self, gen: Generator[Any, Any, T], deadline: float) -> Generator[Any, Any, T]:
            ready = None
            while True:
                try:
                    wanted = gen.send(ready)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]
                ready = yield wanted  # psycopg comes back ten times a second where there is nothing to read
                if not ready and time.monotonic() > deadline:
                    self.pgconn.finish()  # without a word: nobody would hear it
                    raise psycopg.OperationalError(f"the server has not answered for {seconds:g} s")

    event.listen(engine, "do_connect", lambda dialect, record, args, more: _Impatient.connect(*args, **more))
    engine.dispose()  # those that are open have no limit


def is_transient(error: Exception) -> bool:
    """Whether the database is at fault, and may take the same statement later; else it is the values.

    At fault are those that are locked, full, gone, in a deadlock, damaged, or without their tables.

    Args:
        error: The driver's or SQLAlchemy's.
    """
    if isinstance(error, TimeoutError) or getattr(error, "connection_invalidated", False):  # of the pool; SQLAlchemy's
        return True
    cause = getattr(error, "orig", error)
    kinds = {kind.__name__ for kind in type(cause).__mro__}  # every driver gives its errors the names of PEP 249
    if "ProgrammingError" in kinds:  # of the server where it has a code, else of the driver about a value
        return getattr(cause, "sqlstate", None) is not None
    return "DatabaseError" in kinds and not kinds & {"DataError", "IntegrityError", "NotSupportedError"}


def reason(error: Exception) -> str:
    """One line for a message: drivers put what they were given into the lines after the first."""
    cause = getattr(error, "orig", error)
    if is_transient(cause):
        return f"{type(cause).__name__}: {str(cause).strip().partition(chr(10))[0].rstrip('.')}"
    return type(cause).__name__


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as exc:  # the URL may hold a password: it is not repeated
        raise ConfigError(
            "The journal's URL cannot be read. Wanted: sqlite:///FILE or postgresql://USER@HOST/DATABASE."
        ) from exc
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigError(
            f"The journal cannot be kept in {parsed.get_backend_name()!r}. Wanted: sqlite:///FILE or "
            "postgresql://USER@HOST/DATABASE."
        )
    return parsed


def _file(url: URL, folder: Path) -> Path:
    if not url.database or url.database == ":memory:":
        raise ConfigError("The journal needs a file, got an SQLite URL without one. Write it as sqlite:///FILE.")
    file = folder / Path(url.database).expanduser()
    if not file.parent.is_dir():
        raise ConfigError(f"The journal's folder {str(file.parent)!r} does not exist. Make it first.")
    if file.is_dir():
        raise ConfigError(f"The journal must be a file, got the folder {str(file)!r}.")
    return file


def _sqlite(url: URL, folder: Path, make: bool) -> Engine:
    file = _file(url, folder)
    if not make and not file.exists():
        raise ConfigError(
            f"There is no journal {str(file)!r}. The gateway makes it, and so does prefroute keys create."
        )
    _make_private(file)
    engine = create_engine(
        URL.create("sqlite", database=str(file)),
        connect_args={"timeout": _BUSY_MS / 1000, "cached_statements": 256},
        hide_parameters=True,  # errors must not repeat what was written
    )
    event.listen(engine, "do_connect", lambda *_: _make_private(file))  # it may have been deleted since
    event.listen(engine, "connect", _set_up_sqlite)
    return engine


def _make_private(file: Path) -> None:
    """Make the file before SQLite does, for its owner only: it may come to hold prompts. SQLite copies the mode.

    A file that is there is not opened: to close it would drop the locks that SQLite holds on it in this process, and
    the next other process to look into the journal would take it for nobody's and delete its log.
    """
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if not os.access(file, os.W_OK):
            raise _not_writable(file, os.strerror(errno.EACCES)) from None
    except OSError as exc:
        raise _not_writable(file, exc.strerror) from exc


def _not_writable(file: Path, why: str | None) -> ConfigError:
    return ConfigError(f"The journal {str(file)!r} cannot be written: {why}. Mend that first.")


def _set_up_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    for setting in (
        "journal_mode = WAL",
        "synchronous = NORMAL",  # a killed process loses nothing; a power cut may lose what came after a checkpoint
        "journal_size_limit = 67108864",
        "secure_delete = ON",  # what is deleted or redacted is gone from the file too
    ):
        connection.execute(f"PRAGMA {setting}").close()


def _postgres(url: URL) -> Engine:
    try:
        return create_engine(
            url.set(drivername="postgresql+psycopg"),
            connect_args=_POSTGRES | dict(url.query),
            pool_pre_ping=True,
            pool_size=2,
            max_overflow=2,
            hide_parameters=True,
        )
    except ModuleNotFoundError as exc:
        raise MissingExtraError("A journal in PostgreSQL", "postgres") from exc
