"""Outcome tables: how each known schema becomes canonical long rows (one answer) or wide rows (one prompt)."""

# ruff: noqa: S608 - the SQL holds names and values only through `source.quote` and `source.text`
from __future__ import annotations

from prefroute.data.plan import PROMPT_COLUMNS, Check, Options, Plan, find, number, prompt_sql, raw
from prefroute.data.schema_battles import judge_scale, pair_scores
from prefroute.data.source import Source, quote, text
from prefroute.errors import DataError, nearest

__all__ = ["COST_COLUMNS", "ID_COLUMNS", "QUALITY_COLUMNS", "model_columns", "outcome_plan", "turn_models"]

QUALITY_COLUMNS = ("quality", "score", "correct", "is_correct")
COST_COLUMNS = ("cost_usd", "cost", "total_cost")
ID_COLUMNS = ("question_id", "sample_id", "prompt_id", "qid", "id")

_NOT_MODELS = {
    *PROMPT_COLUMNS,  # prompts may be numbers, and are no scores for it
    *ID_COLUMNS,
    *COST_COLUMNS,
    "answer_index",
    "category",
    "contaminated",
    "domain",
    "eval_name",
    "file",
    "fold",
    "index",
    "label",
    "licence",
    "license",
    "oracle_model_to_route_to",
    "overlaps_routellm_eval",
    "row_id",
    "source",
    "split",
    "src",
    "subject",
    "tstamp",
    "turn",
    "weight",
}
_QUALITY, _COSTS = "|quality", ("|cost_usd", "|total_cost")
_JUDGED = ("judge scores 1-10 became (s - 1) / 9",)


def outcome_plan(schema: str, source: Source, options: Options) -> Plan:
    """The plan of one of the outcome schemas (`prefroute.data.schemas.OUTCOMES`)."""
    if schema == "outcomes_long":
        return _long(source, options)
    if schema == "pair_scores":
        return _pairs(source, options)
    return _wide(schema, source, options)


def model_columns(source: Source, options: Options) -> dict[str, str]:
    """Model -> its score column in a wide table.

    Columns that end in "|quality" are models, and then nothing else is; else every column of numbers or booleans that
    is not known to be something else.

    Raises:
        DataError: If `options.models` names a column that is not there.
    """
    if options.models:
        for name in options.models:
            if name not in source.columns:
                raise DataError(f"{source.files[0].name}: {nearest(name, source.columns, 'column')}")
        return {name: name for name in options.models}
    marked = {c.removesuffix(_QUALITY): c for c in source.columns if c.endswith(_QUALITY)}
    if marked:
        return marked
    candidates = [
        column
        for column in source.columns
        if column.lower() not in _NOT_MODELS and "|" not in column and not column.startswith("unnamed_")
    ]
    numeric = [c for c in candidates if _is_number(source.columns[c])]
    worded = [c for c in candidates if source.columns[c] == "VARCHAR"]
    if worded:
        parts = ", ".join(f"count({raw(c)}), count({number(c, 'VARCHAR')})" for c in worded)
        counts = source.connection.execute(f"SELECT {parts} FROM {source.view}").fetchall()[0]
        # One bad cell does not make a column of scores a column of text: the check of cells names it instead.
        numeric += [c for i, c in enumerate(worded) if 2 * counts[2 * i + 1] > counts[2 * i]]
    return {c: c for c in source.columns if c in numeric}


def turn_models(source: Source) -> tuple[str, ...]:
    """Models of a table with MODEL_turn1 and MODEL_turn2 columns (MT-Bench)."""
    names = [column.removesuffix("_turn1") for column in source.columns if column.endswith("_turn1")]
    return tuple(name for name in names if f"{name}_turn2" in source.columns)


def _long(source: Source, options: Options) -> Plan:
    prompt = prompt_sql(source, options)
    model = find(source.columns, ("model", "model_id", "model_name")) or "model"
    column = find(source.columns, QUALITY_COLUMNS) or "quality"
    cost = find(source.columns, COST_COLUMNS)
    value = number(column, source.columns[column])
    judged = column.lower() == "score" and judge_scale(source, options, [value])
    quality = _scaled(value, judged)
    key = find(source.columns, ("_key",))
    select = (
        f"SELECT _file, _row, 0 AS nth, {quote(key) if key else prompt} AS key, {prompt} AS prompt, "
        f"trim(CAST({quote(model)} AS VARCHAR)) AS model, {quality} AS quality, "
        f"{number(cost, source.columns[cost]) if cost else 'NULL'} AS cost, {raw(column)} AS raw_quality, "
        f"{raw(cost) if cost else 'NULL'} AS raw_cost FROM {source.view}"
    )
    checks = (
        Check("model IS NULL OR model = ''", model, "model", "the name of a model"),
        *_cell_checks("quality", "raw_quality", column, judged),
        *(_cost_checks("cost", "raw_cost", cost) if cost else ()),
    )
    notes = _JUDGED if judged else ()
    return Plan("outcomes_long", "long", select, checks, has_cost=cost is not None, notes=notes)


def _pairs(source: Source, options: Options) -> Plan:
    """A table of strong and weak scores as outcomes: two long rows a line; rows of preferences are left out."""
    prompt = prompt_sql(source, options)
    scores = pair_scores(source, options)
    halves = []
    sides = (("strong", scores.strong, options.strong), ("weak", scores.weak, options.weak))
    for nth, (side, value, asked) in enumerate(sides):
        column = find(source.columns, (f"{side}_model",))
        name = text(asked) if asked else quote(column) if column else text(side)
        halves.append(
            f"SELECT _file, _row, {nth} AS nth, {prompt} AS key, {prompt} AS prompt, {name} AS model, "
            f"CASE WHEN {scores.unread} THEN NULL ELSE {value} END AS quality, NULL AS cost, "
            f"CAST({quote(f'{side}_score')} AS VARCHAR) AS raw_quality, {scores.is_preference} AS preference, "
            f"{scores.unread} AS unread FROM {source.view}"
        )
    wanted = "outcomes; preferences in [0, 1] are battles (load the file as battles to keep them)"
    checks = (
        Check("preference", "metric", "'a preference'", wanted, drop=True),
        Check("model IS NULL OR model = ''", "strong_model", "model", "the name of a model"),
        Check(
            "(quality IS NULL AND NOT unread) OR NOT (quality >= 0 AND quality <= 1)",
            "strong_score",
            "raw_quality",
            "two scores in [0, 1] or 1-10",
        ),
    )
    return Plan("pair_scores", "long", " UNION ALL ".join(halves), checks, notes=scores.notes)


def _wide(schema: str, source: Source, options: Options) -> Plan:
    prompt = prompt_sql(source, options)
    if schema == "mt_bench":
        models = turn_models(source)
        columns = {name: f"{name}_turn1" for name in models}
        values = {
            name: [number(column, source.columns[column]) for column in (f"{name}_turn1", f"{name}_turn2")]
            for name in models
        }
    else:
        columns = model_columns(source, options)
        values = {name: [number(column, source.columns[column])] for name, column in columns.items()}
    marked = any(column.endswith(_QUALITY) for column in columns.values())
    judged = not marked and judge_scale(source, options, [value for turns in values.values() for value in turns])
    costs = {name: find(source.columns, tuple(f"{name}{suffix}".lower() for suffix in _COSTS)) for name in columns}
    parts: list[str] = []
    checks: list[Check] = []
    for i, (name, turns) in enumerate(values.items()):
        parts += [
            f"({' + '.join(_scaled(value, judged) for value in turns)}) / {len(turns)} AS q{i}",
            f"{raw(columns[name])} AS r{i}",
        ]
        checks += _cell_checks(f"q{i}", f"r{i}", columns[name], judged)
        cost = costs[name]
        parts.append(f"{number(cost, source.columns[cost]) if cost else 'NULL'} AS c{i}")
        if cost:
            parts.append(f"{raw(cost)} AS k{i}")
            checks += _cost_checks(f"c{i}", f"k{i}", cost)
    select = f"SELECT _file, _row, {prompt} AS prompt, {', '.join(parts)} FROM {source.view}"
    notes = _JUDGED if judged else ()
    has_cost = any(costs.values())
    return Plan(schema, "wide", select, tuple(checks), models=tuple(columns), has_cost=has_cost, notes=notes)


def _scaled(value: str, judged: bool) -> str:
    """The score in [0, 1], NULL where it was not observed (NaN, or a judge's -1)."""
    if judged:
        return f"(CASE WHEN isnan({value}) OR {value} = -1 THEN NULL ELSE ({value} - 1) / 9 END)"
    return f"(CASE WHEN isnan({value}) THEN NULL ELSE {value} END)"


def _cell_checks(value: str, shown: str, column: str, judged: bool) -> tuple[Check, ...]:
    scale = "a judge score in 1-10" if judged else "a score in [0, 1], or judge scores that are all in 1-10"
    unread = f"AND {shown} NOT IN ('-1', '-1.0')" if judged else ""
    return (
        Check(f"{value} IS NULL AND {shown} IS NOT NULL {unread}", column, shown, f"a number; {scale}"),
        Check(f"NOT ({value} >= 0 AND {value} <= 1)", column, shown, scale),
    )


def _cost_checks(value: str, shown: str, column: str) -> tuple[Check, ...]:
    wanted = "a cost in US dollars, >= 0, or empty where it is not known"
    bad = f"({value} IS NULL AND {shown} IS NOT NULL) OR {value} < 0 OR isinf({value})"
    return (Check(bad, column, shown, wanted),)


def _is_number(kind: str) -> bool:
    return kind == "BOOLEAN" or kind.startswith(
        (
            "DOUBLE",
            "FLOAT",
            "DECIMAL",
            "BIGINT",
            "INTEGER",
            "UBIGINT",
            "UINTEGER",
            "SMALLINT",
            "TINYINT",
            "UTINYINT",
            "USMALLINT",
            "HUGEINT",
        )
    )
