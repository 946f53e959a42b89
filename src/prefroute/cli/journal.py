"""`prefroute journal`: take things out of the journal, and bring it to this version's schema."""

from __future__ import annotations

import datetime
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prefroute.cli.options import JsonTo
from prefroute.cli.output import Output
from prefroute.errors import ConfigError, JournalError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from prefroute.serve.runtime import Runtime

__all__ = ["JournalOf", "Since", "app", "check_key", "moment", "open_engine", "open_runtime"]

app = typer.Typer(help="Prune, delete and redact what the gateway's journal keeps, and upgrade its tables.")

JournalOf = Annotated[
    str,
    typer.Argument(metavar="JOURNAL", help="The gateway's YAML file, or the journal's URL (sqlite:///FILE, ...)."),
]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="WHEN", help="Only from then on: an age as in 7d, 12h, 30m, or a date (UTC)."),
]

_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def moment(word: str, option: str) -> float:
    """Wall-clock time that an age or a date names, seconds since 1970, UTC.

    Raises:
        ConfigError: If it is neither.

    Example:
        >>> moment("2026-01-01", "--since")
        1767225600.0
    """
    if age := _AGE.fullmatch(word):
        return time.time() - float(age[1]) * _SECONDS[age[2]]
    try:
        found = datetime.datetime.fromisoformat(word)
    except ValueError as exc:
        raise ConfigError(
            f"{option} must be an age as in 7d, 12h, 30m, or a date as in 2026-01-31, got {word!r}."
        ) from exc
    return (found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).timestamp()


@contextmanager
def open_engine(journal: str, output: Output | None = None, *, make: bool = False) -> Iterator[Engine]:
    """The database of a journal that is named by its URL or by the gateway's file, closed at the end.

    Args:
        journal: As on the command line.
        output: Of the command; refused where it would be written over the journal, or over the gateway's file.
        make: Whether an SQLite file that does not exist is made.

    Raises:
        ConfigError: If there is no such journal.
        JournalError: If it cannot be reached, or fails while it is used.
    """
    from sqlalchemy.exc import DBAPIError

    from prefroute.journal import open_database
    from prefroute.journal.database import reason

    if "://" in journal:
        engine = open_database(journal, make=make)
    else:
        from prefroute.serve.config import read_gateway

        engine = open_database(read_gateway(Path(journal), with_keys=False).value.journal.url, make=make)
    try:
        if output is not None:
            output.spare(journal, engine.url.database if engine.dialect.name == "sqlite" else None)
        yield engine
    except DBAPIError as exc:
        raise JournalError(f"The journal cannot be used now: {reason(exc)}. Try again later.") from exc
    finally:
        engine.dispose()


def check_key(engine: Engine, key: str) -> None:
    """Refuse the id of a key that the journal does not know.

    Raises:
        ConfigError: If it does not.
    """
    from prefroute.journal import list_keys

    if key not in {known.key_id for known in list_keys(engine)}:
        raise ConfigError(f"There is no key {key!r}. See: prefroute keys list")


def open_runtime(journal: str) -> Runtime | None:
    """Models and routes of the gateway; None where only a URL is known."""
    if "://" in journal:
        return None
    from prefroute.serve.loading import load_runtime

    return load_runtime(Path(journal), with_keys=False)[1]


@app.command("upgrade")
def upgrade(journal: JournalOf, json_to: JsonTo = None) -> None:
    """Bring the tables to this version's schema; the gateway does so by itself when it starts.

    Example: prefroute journal upgrade gateway.yaml
    """
    from prefroute.journal.schema import HEAD

    output = Output(json_to)
    with open_engine(journal, output, make=True):
        pass
    output.result({"schema": 1, "version": HEAD})
    output.say(f"The journal has schema {HEAD}.")


@app.command("prune")
def prune(
    journal: JournalOf,
    before: Annotated[str, typer.Option("--before", metavar="WHEN", help="An age as in 90d, 12h, or a date (UTC).")],
    json_to: JsonTo = None,
) -> None:
    """Delete requests that started before a time, with their attempts, text and feedback. Safe beside a gateway.

    Example: prefroute journal prune gateway.yaml --before 90d
    """
    from prefroute.journal.upkeep import prune as delete_old

    output = Output(json_to)
    limit = moment(before, "--before")
    with open_engine(journal, output) as engine:
        n = delete_old(engine, limit)
    _report_deleted(output, n)


@app.command("delete")
def delete(
    journal: JournalOf,
    request: Annotated[
        list[str] | None, typer.Option("--request", metavar="ID", help="Id of a request (x-request-id). Repeatable.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="KEY", help="Every request of the key with this id.")
    ] = None,
    json_to: JsonTo = None,
) -> None:
    """Delete requests by id, or all of a key, with their attempts, text and feedback. Safe beside a gateway.

    Example: prefroute journal delete gateway.yaml --key key_1f0c36c2a5b1
    """
    from prefroute.journal.upkeep import delete_key, delete_requests

    output = Output(json_to)
    if bool(request) == (key is not None):
        raise ConfigError("Give --request or --key, one of the two.")
    with open_engine(journal, output) as engine:
        if key is None:
            n = delete_requests(engine, request or ())
        else:
            check_key(engine, key)
            n = delete_key(engine, key)
    _report_deleted(output, n)


@app.command("redact")
def redact(
    journal: JournalOf,
    pattern: Annotated[
        list[str] | None,
        typer.Option(
            "--pattern",
            metavar="NAME|REGEX",
            help="What to cut out: email, phone, card, iban, ip, secret, or a regular expression. Repeatable.",
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--everything", help="Drop all stored text and embeddings.")] = False,
    json_to: JsonTo = None,
) -> None:
    """Cut patterns out of the prompts that are stored already, or drop them all. Safe beside a gateway.

    Example: prefroute journal redact gateway.yaml --pattern email --pattern 'project [a-z]+'
    """
    from prefroute.journal import Redaction
    from prefroute.journal.upkeep import redact as rewrite

    output = Output(json_to)
    if bool(pattern) == everything:
        raise ConfigError("Give --pattern or --everything, one of the two.")
    redaction = Redaction(pattern) if pattern else None
    with open_engine(journal, output) as engine:
        n = rewrite(engine, redaction)
    output.result({"schema": 1, "changed": n})
    output.say(f"{n:,} stored prompts were {'redacted' if redaction else 'dropped'}.")


def _report_deleted(output: Output, n: int) -> None:
    output.result({"schema": 1, "deleted": n})
    output.say(f"{n:,} requests were deleted.")
