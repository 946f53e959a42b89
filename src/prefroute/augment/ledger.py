"""The state folder: every finished call and every dollar, on disk before the next step is taken.

The door is `Ledger`. An answer is committed, with what it cost, before anybody uses it; what a call may cost at most
is committed before the call is sent. So a process that is killed at any point knows afterwards what it has, and that
it may have paid for what was in flight. SQLite with full synchronisation keeps this, and its lock keeps a second
process out. It must not know what a call means.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import orjson

from prefroute.errors import ConfigError, DataError

__all__ = ["Answer", "Ledger", "call_key"]

_FILE = "calls.sqlite"
_VERSION = 2  # 1 did not tell one endpoint's calls from another's
_SCHEMA = """
CREATE TABLE calls (
    key TEXT PRIMARY KEY, kind TEXT NOT NULL, model TEXT NOT NULL, text TEXT NOT NULL, is_cut INTEGER NOT NULL,
    tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, usd REAL NOT NULL
);
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, usd_at_most REAL NOT NULL, is_lost INTEGER NOT NULL
);
"""


def call_key(
    kind: str, base_url: str, model: str, messages: Sequence[Mapping[str, str]], parameters: Mapping[str, Any]
) -> str:
    """SHA-256 of everything that decides what a call asks, and of whom: the same call has the same key in every run.

    Example:
        >>> asked, url = [{"role": "user", "content": "hi"}], "https://api.openai.com/v1"
        >>> one = call_key("answer", url, "m", asked, {"max_tokens": 9, "temperature": 0})
        >>> two = call_key("answer", url + "/", "m", asked, {"temperature": 0, "max_tokens": 9})
        >>> len(one), one == two
        (64, True)
    """
    asked = [kind, base_url.rstrip("/"), model, list(messages), dict(parameters)]
    return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()


@dataclass(frozen=True, slots=True)
class Answer:
    """One finished call.

    Attributes:
        text: What the model wrote; may be empty.
        is_cut: Whether it stopped at the token limit.
        tokens_in: Tokens read, as the endpoint counted them.
        tokens_out: Tokens written, likewise.
        usd: What it cost, US dollars; 0 where the model has no price.
    """

    text: str
    is_cut: bool
    tokens_in: int
    tokens_out: int
    usd: float


class Ledger:
    """Finished calls and spend of a state folder; one process at a time.

    Args:
        folder: Made where it does not exist.

    Raises:
        ConfigError: If another process uses the folder, or it holds something else.
        DataError: If the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise ConfigError(
                f"--state {str(folder)!r} cannot be made: {exc.strerror}. Choose another folder."
            ) from exc
        with self._explained():
            # the event loop may run in another thread than the one that opened the ledger, never at the same time
            self._db = sqlite3.connect(folder / _FILE, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            with self._explained():
                self._open()
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        """The ledger itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close it and let another process in."""
        self._db.close()

    @property
    def usd(self) -> float:
        """What the folder's calls have cost so far, failed and interrupted attempts at their most, US dollars."""
        return self._usd

    @property
    def usd_lost(self) -> float:
        """The part of `usd` for attempts that brought no answer and may have been billed."""
        with self._explained():
            return float(self._db.execute("SELECT total(usd_at_most) FROM attempts WHERE is_lost").fetchone()[0])

    def get(self, key: str) -> Answer | None:
        """The finished call; None where there is none."""
        with self._explained():
            row = self._db.execute(
                "SELECT text, is_cut, tokens_in, tokens_out, usd FROM calls WHERE key = ?", (key,)
            ).fetchone()
        return None if row is None else Answer(row[0], bool(row[1]), *row[2:])

    def reserve(self, key: str, usd_at_most: float) -> int:
        """Note that an attempt is about to be sent; the number of the reservation."""
        with self._explained():
            made = self._db.execute(
                "INSERT INTO attempts (key, usd_at_most, is_lost) VALUES (?, ?, 0)", (key, usd_at_most)
            )
        self._usd += usd_at_most
        assert made.lastrowid is not None
        return made.lastrowid

    def release(self, reservation: int) -> None:
        """The attempt was refused: it cost nothing."""
        with self._explained():
            row = self._db.execute("DELETE FROM attempts WHERE id = ? RETURNING usd_at_most", (reservation,)).fetchone()
        self._usd -= row[0]

    def lose(self, reservation: int) -> None:
        """The attempt brought no answer and may have been billed: it counts at its most."""
        with self._explained():
            self._db.execute("UPDATE attempts SET is_lost = 1 WHERE id = ?", (reservation,))

    def finish(self, reservation: int, key: str, kind: str, model: str, answer: Answer) -> None:
        """Keep the answer in place of the reservation, in one step, on disk when this returns."""
        text = answer.text.encode("utf-8", "replace").decode()
        row = (key, kind, model, text, answer.is_cut, answer.tokens_in, answer.tokens_out, answer.usd)
        with self._explained(), self._db:  # commits, or rolls back
            self._db.execute("BEGIN IMMEDIATE")
            reserved = self._db.execute(
                "DELETE FROM attempts WHERE id = ? RETURNING usd_at_most", (reservation,)
            ).fetchone()
            self._db.execute("INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        self._usd += answer.usd - reserved[0]

    def _open(self) -> None:
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")  # held until the process ends, however it ends
        self._db.execute("PRAGMA journal_mode = WAL")  # one sync for each commit instead of three
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("BEGIN EXCLUSIVE")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        self._db.execute("COMMIT")
        if version == 0:
            self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
        elif version != _VERSION:
            raise ConfigError(
                f"{self.folder / _FILE}: format version {version}, wanted {_VERSION}. Use another --state folder, or "
                "the version of prefroute that made it."
            )
        # what was in flight when an earlier run was killed
        self._db.execute("UPDATE attempts SET is_lost = 1")
        spent = "SELECT (SELECT total(usd) FROM calls) + (SELECT total(usd_at_most) FROM attempts)"
        self._usd = float(self._db.execute(spent).fetchone()[0])

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as exc:
            file = self.folder / _FILE
            if "locked" in str(exc):
                raise ConfigError(
                    f"{file} is in use by another process. Wait for it to end, or use another --state folder."
                ) from exc
            if "not a database" in str(exc) or "malformed" in str(exc):
                raise ConfigError(f"{file} is not a state of prefroute ({exc}). Use another --state folder.") from exc
            raise DataError(
                f"{file} cannot be read or written ({exc}). Mend that and run again: finished calls are kept."
            ) from exc
