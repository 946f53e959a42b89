"""Battle tables: how each known schema becomes the canonical columns prompt, a, b, outcome."""

# ruff: noqa: S608 - the SQL holds names and values only through `source.quote` and `source.text`
from __future__ import annotations

from dataclasses import dataclass

from prefroute.data.plan import Check, Options, Plan, choice, find, number, prompt_sql, raw
from prefroute.data.source import Source, quote, text

__all__ = ["PairScores", "battle_plan", "judge_scale", "pair_scores"]

_WINNERS = {
    "model_a": "1.0",
    "a": "1.0",
    "model_b": "0.0",
    "b": "0.0",
    "tie": "0.5",
    "tie (bothbad)": "0.5",
    "tie (inconsistent)": "0.5",
    "tie(all bad)": "0.5",
    "both_bad": "0.5",
}


def battle_plan(schema: str, source: Source, options: Options) -> Plan:
    """The plan of one of the battle schemas (`prefroute.data.schemas.BATTLES`); the table has prompts."""
    label = _label(schema, source, options)
    a, b = label.names
    select = (
        f"SELECT _file, _row, {prompt_sql(source, options, is_list=schema.startswith('arena'))} AS prompt, "
        f"CAST({a} AS VARCHAR) AS a, CAST({b} AS VARCHAR) AS b, CAST({label.outcome} AS DOUBLE) AS outcome, "
        f"CAST({label.shown} AS VARCHAR) AS raw_outcome{label.extra} FROM {source.view}"
    )
    checks = (
        *label.checks,
        Check("a IS NULL OR trim(a) = ''", "model_a", "a", "the name of a model"),
        Check("b IS NULL OR trim(b) = ''", "model_b", "b", "the name of a model"),
        Check("a = b", "model_b", "b", "another model than model_a: no model meets itself"),
        Check("outcome IS NULL OR NOT (outcome >= 0 AND outcome <= 1)", label.column, "raw_outcome", label.wanted),
    )
    return Plan(schema, "battles", select, checks, notes=label.notes)


def _label(schema: str, source: Source, options: Options) -> _Label:
    if schema == "pair_scores":
        return _pair_scores(source, options)
    if schema == "reference_judge":
        return _reference_judge(source, options)
    builders = {
        "arena": _arena,
        "arena_winner": _arena_winner,
        "battles": _canonical,
        "alpaca_eval": _alpaca_eval,
    }
    return builders[schema](source)


@dataclass(frozen=True, slots=True)
class _Label:
    """How a schema says who won: SQL of the outcome and of what to show of it, its column, and what was wanted."""

    outcome: str
    shown: str
    column: str
    wanted: str
    names: tuple[str, str]
    extra: str = ""
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()


def _arena(source: Source) -> _Label:
    won, lost = (number(*_typed(source, name)) for name in ("winner_model_a", "winner_model_b"))
    tie = find(source.columns, ("winner_tie", "tie"))
    drawn = number(tie, source.columns[tie]) if tie else f"(1 - {won} - {lost})"
    one = f"{won} + {lost} + {drawn} = 1 AND greatest({won}, {lost}, {drawn}) = 1"
    return _Label(
        outcome=f"(CASE WHEN {one} THEN {won} + 0.5 * {drawn} END)",
        shown=f"concat_ws('/', {won}, {lost}, {drawn})",
        column="winner_model_a",
        wanted="exactly one of the row's winner flags set to 1",
        names=_model_columns(source),
    )


def _arena_winner(source: Source) -> _Label:
    (a, b), winner = _model_columns(source), f"CAST({quote(_typed(source, 'winner')[0])} AS VARCHAR)"
    said = choice(f"lower(trim({winner}))", _WINNERS)
    return _Label(
        outcome=f"coalesce({said}, CASE {winner} WHEN {a} THEN 1.0 WHEN {b} THEN 0.0 END)",
        shown=winner,
        column="winner",
        wanted="model_a, model_b, tie, tie (bothbad), tie (inconsistent), or the name of one of the row's two models",
        names=(a, b),
    )


def _canonical(source: Source) -> _Label:
    column, kind = _typed(source, "outcome")
    wanted = "a number in [0, 1]: 1 where model_a was preferred, 0.5 for a tie"
    return _Label(number(column, kind), quote(column), column, wanted, _model_columns(source))


def _alpaca_eval(source: Source) -> _Label:
    """AlpacaEval: generator_1 is the baseline, preference 1-2 is how far generator_2 is preferred; 0 = unreadable."""
    column, kind = _typed(source, "preference")
    wanted = "a preference in 1-2"
    unread = f"{wanted}; the judge's answer could not be read"
    itself = "two models; the baseline was compared with itself"
    return _Label(
        outcome=f"({number(column, kind)} - 1)",
        shown=raw(column),
        column=column,
        wanted=wanted,
        names=(quote("generator_2"), quote("generator_1")),
        checks=(
            Check("raw_outcome IS NULL OR outcome IN (-1, -2)", column, "raw_outcome", unread, drop=True),
            Check("a = b", "generator_2", "b", itself, drop=True),
        ),
    )


def _pair_scores(source: Source, options: Options) -> _Label:
    scores = pair_scores(source, options)
    metric, strong_name = find(source.columns, ("metric",)), find(source.columns, ("strong_model",))
    outcome = f"((1 + {scores.strong} - {scores.weak}) / 2)"
    if metric and strong_name:  # where the strong model is the baseline, its opponent's preference is the battle
        baseline = f"({scores.is_preference} AND contains({quote(metric)}, {quote(strong_name)}))"
        outcome = f"(CASE WHEN {baseline} THEN 1 - {scores.weak} ELSE {outcome} END)"
    wanted = "two scores in [0, 1], or judge scores 1-10"
    unread = f"{wanted}; one is missing, or -1 because the judge's answer could not be read"
    return _Label(
        outcome=f"(CASE WHEN {scores.unread} THEN NULL ELSE {outcome} END)",
        shown=f"concat_ws('/', {raw('strong_score')}, {raw('weak_score')})",
        column="strong_score",
        wanted=wanted,
        names=_pair_names(source, options),
        extra=f", {scores.unread} AS unread, least({scores.strong}, {scores.weak}) AS low, "
        f"greatest({scores.strong}, {scores.weak}) AS high",
        checks=(
            Check("unread", "strong_score", "raw_outcome", unread, drop=True),
            Check("low < 0 OR high > 1", "strong_score", "raw_outcome", wanted),
        ),
        notes=scores.notes,
    )


def _reference_judge(source: Source, options: Options) -> _Label:
    """RouteLLM's judge file: the weak answer's score 1-5 against the strong one's; 4-5 is good enough."""
    column, kind = _typed(source, "mixtral_score")
    value = number(column, kind)
    return _Label(
        outcome=f"(CASE WHEN {value} BETWEEN 1 AND 5 THEN CAST({value} < 4 AS DOUBLE) END)",
        shown=raw(column),
        column=column,
        wanted="a judge score in 1-5",
        names=(text(options.strong or "gpt-4-1106-preview"), text(options.weak or "mixtral-8x7b-instruct-v0.1")),
        notes=("judge scores 1-5 against the strong answer: 4 and 5 count as the weak model being good enough",),
    )


@dataclass(frozen=True, slots=True)
class PairScores:
    """SQL of a row's two scores in [0, 1], of whether they are preferences, of whether one is unreadable; notes."""

    strong: str
    weak: str
    is_preference: str
    unread: str
    notes: tuple[str, ...]


def pair_scores(source: Source, options: Options) -> PairScores:
    """How to read strong_score and weak_score.

    The column `metric`, where there is one, says the scale of each row: "1-10" is a judge score, "P(...)" or
    "preference" a preference, everything else 0-1.
    """
    strong, weak = (number(*_typed(source, name)) for name in ("strong_score", "weak_score"))
    metric = find(source.columns, ("metric",))
    if metric:
        kind = f"lower({quote(metric)})"
        is_judge, is_preference = f"contains({kind}, '1-10')", f"regexp_matches({kind}, 'p\\(|prefer|win.?rate')"
        notes: tuple[str, ...] = ("`metric` says the scale of each row; judge scores 1-10 became (s - 1) / 9",)
    else:
        judge = judge_scale(source, options, [strong, weak])
        is_judge, is_preference = ("true" if judge else "false"), "false"
        notes = ("judge scores 1-10 became (s - 1) / 9",) if judge else ()
    unread = (
        f"({raw('strong_score')} IS NULL OR {raw('weak_score')} IS NULL OR "
        f"(({is_judge} OR {is_preference}) AND least({strong}, {weak}) = -1))"
    )
    scaled = [f"(CASE WHEN {is_judge} THEN ({value} - 1) / 9 ELSE {value} END)" for value in (strong, weak)]
    return PairScores(scaled[0], scaled[1], is_preference, unread, notes)


def judge_scale(source: Source, options: Options, values: list[str]) -> bool:
    """Whether the scores are judge scores 1-10: as `options.scale` says, else when all are in 1-10 and one is over 1.

    -1, which FastChat writes for an answer of the judge that it cannot read, does not count.
    """
    if options.scale != "auto":
        return options.scale == "judge"
    usable = [f"CASE WHEN {value} = -1 OR isnan({value}) THEN NULL ELSE {value} END" for value in values]
    ends = ", ".join(f"min({value}), max({value})" for value in usable)
    row = source.connection.execute(f"SELECT {ends} FROM {source.view}").fetchall()[0]
    lows = [value for value in row[0::2] if value is not None]
    highs = [value for value in row[1::2] if value is not None]
    return bool(highs) and min(lows) >= 1 and 1 < max(highs) <= 10


def _model_columns(source: Source) -> tuple[str, str]:
    """SQL of the columns model_a and model_b."""
    return quote(_typed(source, "model_a")[0]), quote(_typed(source, "model_b")[0])


def _pair_names(source: Source, options: Options) -> tuple[str, str]:
    """SQL of the two names: those asked for (pooling every pair under them), the file's, or strong and weak."""
    found = (find(source.columns, ("strong_model",)), find(source.columns, ("weak_model",)))
    asked = (options.strong, options.weak)
    names = [
        text(want) if want else quote(column) if column else text(fallback)
        for want, column, fallback in zip(asked, found, ("strong", "weak"), strict=True)
    ]
    return names[0], names[1]


def _typed(source: Source, name: str) -> tuple[str, str]:
    """A column that the schema's detection has found, in its own spelling, with its type."""
    column = find(source.columns, (name,)) or name
    return column, source.columns[column]
