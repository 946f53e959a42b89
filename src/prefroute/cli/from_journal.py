"""`prefroute data from-journal`: feedback back to tables that routers learn from."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prefroute.cli.journal import JournalOf, Since, check_key, moment, open_engine, open_runtime
from prefroute.cli.options import JsonTo, read_config
from prefroute.cli.output import Bar, Output
from prefroute.errors import ConfigError, DataError

if TYPE_CHECKING:
    from prefroute.journal.learning import FeedbackData
    from prefroute.types import Battles, Embedder, Outcomes

__all__ = ["from_journal"]


def from_journal(
    journal: JournalOf,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Outcomes, from scores: .parquet, .csv or .jsonl.")
    ] = None,
    battles: Annotated[
        Path | None, typer.Option("--battles", metavar="FILE", help="Battles, from preferences; likewise.")
    ] = None,
    vectors: Annotated[
        Path | None,
        typer.Option(
            "--vectors",
            metavar="FILE",
            help="Take stored embeddings, not text: they go here, and prompts become hashes.",
        ),
    ] = None,
    embedder: Annotated[
        str, typer.Option("--embedder", metavar="SPEC", help="With --vectors: the embedder that made them.")
    ] = "static",
    since: Since = None,
    without_key: Annotated[
        list[str] | None,
        typer.Option("--without-key", metavar="KEY", help="Leave out feedback of the key with this id. Repeatable."),
    ] = None,
    json_to: JsonTo = None,
) -> None:
    """Write what clients thought of answers as training data. Only the model that answered was seen; the rest is empty.

    Example: prefroute data from-journal gateway.yaml --out outcomes.parquet --battles battles.parquet

    Example: prefroute data from-journal gateway.yaml --out outcomes.parquet --vectors vectors.safetensors &&
    prefroute train knn --data outcomes.parquet --embedder stored:vectors.safetensors --strong big --weak small
    """
    from prefroute.data import write_table
    from prefroute.embed.stored import write_vectors

    output = Output(json_to, {"--out": out, "--battles": battles, "--vectors": vectors})
    if out is None and battles is None:
        raise ConfigError("Give --out for outcomes, --battles for battles, or both.")
    start = 0.0 if since is None else moment(since, "--since")
    opened = None if vectors is None else _opened(embedder)
    found = _read(journal, start, None if opened is None else opened.id, without_key or [], output)
    tables = {path: table for path, table in ((out, found.outcomes), (battles, found.battles)) if path is not None}
    if not any(tables.values()):
        raise DataError(f"The journal holds no feedback that these tables could be made of. {_left_out(found)}")
    filled = {path: table for path, table in tables.items() if table}
    written = {str(path): len(table) for path, table in filled.items()}
    for path, table in filled.items():
        write_table(table, path)
    if vectors is not None and opened is not None:
        write_vectors(vectors, opened, found.hashes, found.vectors)
        written[str(vectors)] = len(found.hashes)
    teaches = _teaches(found.outcomes, out, is_text=vectors is None) if out and found.outcomes else ""
    _tell(output, found, tables, written, teaches)


def _tell(
    output: Output,
    found: FeedbackData,
    tables: Mapping[Path, Outcomes | Battles | None],
    written: Mapping[str, int],
    teaches: str,
) -> None:
    loud = found.loud_key and asdict(found.loud_key)
    output.result({"schema": 1, "n": written, "left_out": dict(found.n_left_out), "loud_key": loud})
    for name, n in written.items():
        output.say(f"Wrote {n:,} rows to {name}.")
    for path in (path for path, table in tables.items() if not table):
        output.say(f"The journal holds nothing for {path}: it is not written.")
    left_out = _left_out(found)
    odd = f"Note: {found.loud_key} To leave it out: --without-key {loud['key_id']}" if loud else ""
    for line in filter(None, (teaches, left_out, odd)):
        output.say(line)


def _left_out(found: FeedbackData) -> str:
    return "; ".join(f"{n:,} left out: {why}" for why, n in found.n_left_out.items())


def _opened(embedder: str) -> Embedder:
    from prefroute.cli.opening import open_cached_embedder

    with Bar("Embedding") as bar:
        return open_cached_embedder(embedder, read_config(None), bar)


def _teaches(outcomes: Outcomes, out: Path, is_text: bool) -> str:
    """What can be learned from the table, and with what."""
    n_compared = sum((row == row).sum() > 1 for row in outcomes.quality)  # noqa: PLR0124 - NaN: not observed
    if n_compared:
        return f"{n_compared:,} prompts were answered by two models or more: what prefroute train learns from."
    can = (
        f"prefroute adapt --data {shlex.quote(str(out))} --strong MODEL --weak MODEL --out DIR"
        if is_text
        else "adapt, from text"
    )
    return (
        "Every prompt was answered by one model only, so no router of a pair can be trained on this table. What can "
        f"learn from one-sided scores: {can}"
    )


def _read(
    journal: str, since: float, embedder_id: str | None, without_keys: Sequence[str], output: Output
) -> FeedbackData:
    from prefroute.journal.learning import feedback_data
    from prefroute.journal.summary import RoutePair

    runtime = open_runtime(journal)
    routes = {} if runtime is None else runtime.routes
    pairs = {name: RoutePair(route.strong, route.weak) for name, route in routes.items()}
    with open_engine(journal, output) as engine:
        for key in without_keys:
            check_key(engine, key)
        return feedback_data(engine, since=since, embedder=embedder_id, pairs=pairs, without_keys=without_keys)
