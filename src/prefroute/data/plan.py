"""What a reader of tables needs to know: an SQL select of canonical columns, and what may be wrong with a row.

Canonical columns, beside `_file` and `_row`:
    battles  prompt, a, b, outcome, raw_outcome
    long     key, prompt, model, quality, cost, raw_quality, nth (answer of its row, from 0)
    wide     prompt, q0..qm-1, c0..cm-1, r0..rm-1 (the raw text of a score)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from prefroute.data.source import Source, quote, text

__all__ = ["Check", "Options", "Plan", "choice", "close_misses", "find", "number", "prompt_sql", "raw"]

Kind = Literal["battles", "long", "wide"]
Scale = Literal["auto", "unit", "judge"]

PROMPT_COLUMNS = ("prompt", "turn1", "turns", "question", "instruction", "query", "conversation_a")


@dataclass(frozen=True, slots=True)
class Options:
    """How the caller wants a table read; see `prefroute.data.load`."""

    table: str = "auto"
    strong: str | None = None
    weak: str | None = None
    models: tuple[str, ...] | None = None
    prompt_column: str | None = None
    scale: Scale = "auto"
    turns: str = "first"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that may be wrong with a row.

    Attributes:
        when: SQL condition on the canonical columns that finds bad rows.
        column: The file's column to name.
        got: SQL expression for what was got; never a prompt.
        wanted: What was wanted and what to do.
        drop: Leave such rows out and count them, instead of refusing the file.
    """

    when: str
    column: str
    got: str
    wanted: str
    drop: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """How to read one table.

    Attributes:
        schema: The name of the schema that was recognised.
        kind: Which canonical columns `select` yields.
        select: SQL select.
        checks: What may be wrong with a row.
        models: Of a wide table, the models in column order.
        has_cost: Whether costs are there.
        notes: What was decided while reading, such as a rescaling.
    """

    schema: str
    kind: Kind
    select: str
    checks: tuple[Check, ...]
    models: tuple[str, ...] = ()
    has_cost: bool = False
    notes: tuple[str, ...] = ()


def find(columns: Mapping[str, str], names: Iterable[str]) -> str | None:
    """The first of `names` that is a column, in the column's own spelling; case does not matter."""
    spelled = {column.lower(): column for column in columns}
    return next((spelled[name] for name in names if name in spelled), None)


def close_misses(columns: Iterable[str], wanted: Iterable[str]) -> dict[str, str]:
    """Column that was got -> wanted name that it looks like, for wanted names that are absent."""
    lower = {column.lower(): column for column in columns}
    misses: dict[str, str] = {}
    for name in wanted:
        if name not in lower:
            close = difflib.get_close_matches(name, [c for c in lower if c not in misses], n=1, cutoff=0.75)
            misses.update({lower[close[0]]: name} if close else {})
    return misses


def number(column: str, kind: str) -> str:
    """SQL for a column as a number: booleans are 0 and 1, text is parsed; NULL where it cannot be."""
    name = quote(column)
    if kind == "BOOLEAN":
        return f"CAST(CAST({name} AS INTEGER) AS DOUBLE)"
    if kind != "VARCHAR":
        return f"TRY_CAST({name} AS DOUBLE)"
    word = f"lower(trim({name}))"
    return f"(CASE {word} WHEN 'true' THEN 1.0 WHEN 'false' THEN 0.0 ELSE TRY_CAST({word} AS DOUBLE) END)"


def raw(column: str) -> str:
    """SQL for a column as text, with the ways to write a missing number made NULL."""
    word = f"trim(CAST({quote(column)} AS VARCHAR))"
    return f"(CASE WHEN lower({word}) IN ('', 'nan', 'null', 'none', 'na', '<na>') THEN NULL ELSE {word} END)"


def prompt_sql(source: Source, options: Options, is_list: bool = False) -> str | None:
    """SQL for the prompt, never NULL; None where the table has no prompts.

    Args:
        source: The table.
        options: `prompt_column` and `turns` are used.
        is_list: Whether a text prompt is a JSON list of turns in this schema.
    """
    wanted = (options.prompt_column.lower(),) if options.prompt_column else PROMPT_COLUMNS
    column = find(source.columns, wanted)
    if column is None:
        return None
    kind = source.columns[column]
    if column.lower() == "conversation_a":
        conversation = quote(column) if kind == "VARCHAR" else f"to_json({quote(column)})"
        return f"coalesce(json_extract_string({conversation}, '$[0].content'), '')"
    if kind.endswith("[]") or is_list or column.lower() == "turns":
        return _first_turn(quote(column), kind, options.turns)
    return f"coalesce(CAST({quote(column)} AS VARCHAR), '')"


def _first_turn(name: str, kind: str, turns: str) -> str:
    """SQL for the first turn (or all, one per line) of a list, or of text that is a JSON list."""
    if kind.endswith("[]"):
        return f"coalesce(array_to_string({name}, chr(10)), '')" if turns == "all" else f"coalesce({name}[1], '')"
    wanted = (
        f"array_to_string(json_extract_string({name}, '$[*]'), chr(10))"
        if turns == "all"
        else f"json_extract_string({name}, '$[0]')"
    )
    return f"coalesce(CASE WHEN starts_with({name}, '[') AND json_valid({name}) THEN {wanted} ELSE {name} END, '')"


def choice(expression: str, values: Mapping[str, str]) -> str:
    """SQL that maps text values to SQL values; NULL for any other."""
    cases = " ".join(f"WHEN {text(key)} THEN {value}" for key, value in values.items())
    return f"(CASE {expression} {cases} END)"
