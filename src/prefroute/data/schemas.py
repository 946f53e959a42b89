"""Which table a file holds, told by its columns; column names that nearly fit are named in the error."""

from __future__ import annotations

from prefroute.data.plan import PROMPT_COLUMNS, Options, Plan, close_misses, find
from prefroute.data.schema_battles import battle_plan
from prefroute.data.schema_outcomes import (
    COST_COLUMNS,
    ID_COLUMNS,
    QUALITY_COLUMNS,
    model_columns,
    outcome_plan,
    turn_models,
)
from prefroute.data.source import Source
from prefroute.errors import DataError

__all__ = ["BATTLES", "OUTCOMES", "make_plan", "require_prompts"]

BATTLES: dict[str, tuple[str, ...]] = {
    "arena": ("model_a", "model_b", "winner_model_a", "winner_model_b"),
    "arena_winner": ("model_a", "model_b", "winner"),
    "battles": ("model_a", "model_b", "outcome"),
    "pair_scores": ("strong_score", "weak_score"),
    "reference_judge": ("mixtral_score",),
    "alpaca_eval": ("generator_1", "generator_2", "preference"),
}
"""Battle schema -> the columns that tell it, beside the prompt; the first that fits is taken."""

OUTCOMES: dict[str, tuple[str, ...]] = {
    "outcomes_long": ("model", "quality"),
    "pair_scores": ("strong_score", "weak_score"),
    "mt_bench": ("MODEL_turn1", "MODEL_turn2"),
    "outcomes_wide": ("MODEL ...",),
}
"""Outcome schema -> the columns that tell it, beside the prompt."""


def make_plan(source: Source, options: Options) -> Plan:
    """How to read the table.

    Raises:
        DataError: If no schema fits, the prompts are missing, or another kind of table was asked for.
    """
    name = source.files[0].name
    schema, is_battles = _detect(source, options)
    if schema is None:
        raise DataError(f"{name}: {_misfit(source)}")
    require_prompts(source, options)
    if options.table == "battles" and not is_battles:
        raise DataError(
            f"{name}: holds outcomes ({schema}), but battles were asked for. Use table='outcomes' or 'auto'."
        )
    if options.table == "outcomes" and is_battles and schema != "pair_scores":
        raise DataError(
            f"{name}: holds battles ({schema}), but outcomes were asked for. Use table='battles' or 'auto'."
        )
    if is_battles and options.table != "outcomes":
        return battle_plan(schema, source, options)
    return outcome_plan(schema, source, options)


def _detect(source: Source, options: Options) -> tuple[str | None, bool]:
    """The schema's name and whether it is one of battles; None where nothing fits."""
    for schema, columns in BATTLES.items():
        if all(find(source.columns, (column,)) for column in columns):
            return schema, True
    if find(source.columns, ("model", "model_id", "model_name")) and find(source.columns, QUALITY_COLUMNS):
        return "outcomes_long", False
    if _near_schemas(source):
        return None, False
    if turn_models(source):
        return "mt_bench", False
    if model_columns(source, options):
        return "outcomes_wide", False
    return None, False


def _near_schemas(source: Source) -> dict[str, str]:
    """Close misses of the first schema whose columns are all there or nearly there."""
    for columns in (*BATTLES.values(), ("model", "score"), ("model", "quality")):
        absent = [column for column in columns if not find(source.columns, (column,))]
        misses = close_misses(source.columns, absent)
        if len(columns) > 1 and len(misses) == len(absent):
            return misses
    return {}


def _misfit(source: Source) -> str:
    if not source.connection.execute(f"SELECT 1 FROM {source.view} LIMIT 1").fetchall():  # noqa: S608 - our own view
        return "a header without rows. Wanted: at least one row."
    misses = _near_schemas(source) or close_misses(source.columns, ["model_a", "model_b", "winner", "model", "score"])
    if misses:
        renames = ", ".join(f"{got!r} looks like {wanted!r}" for got, wanted in misses.items())
        return f"the columns fit no known table; {renames}. Rename them."
    shown = ", ".join(list(source.columns)[:8]) + (" ..." if len(source.columns) > 8 else "")
    costs = COST_COLUMNS[0]
    return (
        f"the columns ({shown}) fit no known table. Wanted: prompt, model_a, model_b, winner (battles), or "
        f"prompt, model, score[, {costs}] (outcomes, long), or prompt and one score column for each model "
        "(outcomes, wide)."
    )


def require_prompts(source: Source, options: Options) -> str:
    """The column with the prompts.

    Raises:
        DataError: If there is none; the message names one that looks like it.
    """
    name = source.files[0].name
    if options.prompt_column:
        asked = find(source.columns, (options.prompt_column.lower(),))
        if not asked:
            raise DataError(f"{name}: no column {options.prompt_column!r}. Columns: {', '.join(source.columns)}.")
        return asked
    found = find(source.columns, PROMPT_COLUMNS)
    if not found:
        misses = close_misses([c for c in source.columns if c.lower() not in ID_COLUMNS], ["prompt"])
        hint = f" {next(iter(misses))!r} looks like it: rename it to 'prompt'." if misses else ""
        raise DataError(
            f"{name}: no column with the prompts.{hint} Wanted: 'prompt' (or {', '.join(PROMPT_COLUMNS[1:])}), or a "
            "prompts or questions table with the same id column beside the file."
        )
    return found
