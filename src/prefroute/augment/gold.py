"""Battles from outcomes: where answers were graded, two grades of one prompt are a battle that nobody has to judge."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from prefroute.data import assign_tiers, bradley_terry
from prefroute.errors import ConfigError, DataError
from prefroute.types import Battles, FloatArray, IndexArray, Outcomes

__all__ = ["Balance", "Gold", "GoldGroup", "gold_battles"]

Balance = Literal["tier", "source", "both", "none"]

_MAX_TIERS = 10  # as in the paper, sec. 4.1


@dataclass(frozen=True, slots=True)
class GoldGroup:
    """The battles between two tiers in one source.

    Attributes:
        tier_a: Tier of the better model's tier, 0 = best.
        tier_b: The other tier, >= `tier_a`.
        source: Where the prompts come from; "" where that is not known or not told apart.
        n_possible: Battles that the outcomes hold.
        n_kept: Battles that came out.
        tie_share: Share of ties among those kept, NaN where none is.
    """

    tier_a: int
    tier_b: int
    source: str
    n_possible: int
    n_kept: int
    tie_share: float


@dataclass(frozen=True, slots=True)
class Gold:
    """Battles from outcomes, and what they are made of.

    Attributes:
        battles: The battles that came out.
        groups: By tiers and source, whatever was balanced.
        tiers: Tier of each of the battles' models, 0 = best, by name.
    """

    battles: Battles
    groups: tuple[GoldGroup, ...]
    tiers: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Possible:
    """Every battle that the outcomes hold: its prompt's row, its two columns, its outcome; each of shape (c,)."""

    row: IndexArray
    a: IndexArray
    b: IndexArray
    outcome: FloatArray

    def battles(self, outcomes: Outcomes, chosen: IndexArray) -> Battles:
        return Battles(
            prompts=[outcomes.prompts[i] for i in self.row[chosen].tolist()],
            models=outcomes.models,
            model_a=self.a[chosen].astype(np.int32),
            model_b=self.b[chosen].astype(np.int32),
            outcome=self.outcome[chosen],
        )


def gold_battles(
    outcomes: Outcomes,
    *,
    pairs: Sequence[tuple[str, str]] | None = None,
    balance: Balance = "both",
    sources: Sequence[str] | None = None,
    per_prompt: int | None = None,
    seed: int = 0,
) -> Gold:
    """Battles between the models of an outcomes table; ties are kept.

    The outcome is `(1 + quality_a - quality_b) / 2`: 1, 0.5 or 0 for right and wrong answers, in between for finer
    grades. Models are put into at most ten tiers by their Bradley-Terry rating on this table.

    Args:
        outcomes: n prompts, m models; a cell that was not observed makes no battle.
        pairs: Which models meet; None for all m (m - 1) / 2 pairs.
        balance: Which groups are evened out: pairs of "tier"s, "source"s, "both", or "none". A group with more battles
            than the median group is cut down to it at random; smaller ones stay whole.
        sources: Source of each prompt, length n; None where it is not known.
        per_prompt: At most this many battles of one row, >= 1, rare groups first; None for no limit.
        seed: Drives the draws.

    Raises:
        ConfigError: If a pair is one model twice, or an argument is out of range.
        DataError: If a model is not in the table, `sources` has another length, or no two models answered one prompt.

    Source: Ong et al. 2024, arXiv:2406.18665, sec. 4.1 (golden labels). Differs: any pairs, tiers, balance.

    Example:
        >>> table = Outcomes(["2+2?", "3+3?"], ("big", "small"), np.array([[1.0, 0.0], [1.0, 1.0]]))
        >>> gold_battles(table).battles.outcome
        array([1. , 0.5])
    """
    _check(outcomes, balance, sources, per_prompt)
    everything = _possible(outcomes, list(itertools.combinations(range(len(outcomes.models)), 2)))
    if not len(everything.row):
        raise DataError(
            f"No prompt of {len(outcomes)} was answered by two of the {len(outcomes.models)} models: nothing can be "
            "compared. Bring outcomes of at least two models on the same prompts."
        )
    tiers = _tiers(outcomes.models, everything)
    possible = everything if pairs is None else _possible(outcomes, _columns(outcomes, pairs))
    if not len(possible.row):
        raise DataError("The chosen pairs never answered the same prompt. Choose other pairs.")
    names, source = np.unique(sources if sources is not None else [""] * len(outcomes), return_inverse=True)
    ends = np.sort(np.stack([tiers[possible.a], tiers[possible.b]]), axis=0)
    tier_pair, source_of = ends[0] * _MAX_TIERS + ends[1], source[possible.row]
    detail = tier_pair * len(names) + source_of  # (c,): tells tiers and source apart
    group = {"tier": tier_pair, "source": source_of, "both": detail, "none": None}[balance]
    chosen = _choose(possible.row, group, per_prompt, np.random.default_rng(seed))
    battles = possible.battles(outcomes, chosen)
    met = np.union1d(possible.a, possible.b).tolist()
    return Gold(
        battles,
        _groups(detail, possible.outcome, chosen, [str(name) for name in names]),
        {outcomes.models[column]: int(tiers[column]) for column in met},
    )


def _check(outcomes: Outcomes, balance: str, sources: Sequence[str] | None, per_prompt: int | None) -> None:
    if per_prompt is not None and per_prompt < 1:
        raise ConfigError(f"`per_prompt` must be at least 1, got {per_prompt}.")
    if balance not in ("tier", "source", "both", "none"):
        raise ConfigError(f"`balance` must be tier, source, both or none, got {balance!r}.")
    if sources is not None and len(sources) != len(outcomes):
        raise DataError(f"`sources` must be one for each of {len(outcomes)} prompts, got {len(sources)}.")


def _columns(outcomes: Outcomes, pairs: Sequence[tuple[str, str]]) -> list[tuple[int, int]]:
    columns = [(outcomes.column(a), outcomes.column(b)) for a, b in pairs]
    for (a, b), (column_a, column_b) in zip(pairs, columns, strict=True):
        if column_a == column_b:
            raise ConfigError(f"A pair needs two models, got {a!r} and {b!r}.")
    if len({frozenset(pair) for pair in columns}) < len(columns):
        raise ConfigError("A pair stands twice among the chosen pairs. Name each once.")
    return columns


def _possible(outcomes: Outcomes, columns: Sequence[tuple[int, int]]) -> _Possible:
    rows, sides, results = [], [], []
    for a, b in columns:
        gain = outcomes.quality[:, a] - outcomes.quality[:, b]
        row = np.flatnonzero(~np.isnan(gain))
        rows.append(row)
        sides.append(np.broadcast_to(np.array([[a], [b]]), (2, len(row))))
        results.append((1 + gain[row]) / 2)
    side = np.concatenate([np.empty((2, 0), dtype=np.intp), *sides], axis=1)
    order = np.argsort(np.concatenate([np.empty(0, dtype=np.intp), *rows]), kind="stable")
    row = np.concatenate([np.empty(0, dtype=np.intp), *rows])[order]
    return _Possible(row, side[0][order], side[1][order], np.concatenate([np.empty(0), *results])[order])


def _tiers(models: tuple[str, ...], everything: _Possible) -> IndexArray:
    """Tier of each column, 0 = best; a model that never met another stands in the tier of average ones."""
    m = len(models)
    pair, n = np.unique(everything.a * m + everything.b, return_counts=True)
    won = np.bincount(everything.a * m + everything.b, everything.outcome, minlength=m * m)[pair]
    # one battle for each pair, weighed by how often it met, is rated as all of them would be
    a, b = (pair // m).astype(np.int32), (pair % m).astype(np.int32)
    met = Battles([""] * len(pair), models, a, b, np.clip(won / n, 0, 1))
    ratings = bradley_terry(met, weights=n.astype(np.float64))
    return assign_tiers(ratings, min(_MAX_TIERS, m))


def _choose(row: IndexArray, group: IndexArray | None, per_prompt: int | None, rng: np.random.Generator) -> IndexArray:
    """Indices of the battles to keep, ascending.

    Args:
        row: Prompt of each battle, ascending, shape (c,).
        group: Group of each battle, shape (c,); None for no groups, so that none is cut.
        per_prompt: At most this many of one prompt.
        rng: Draws.
    """
    chosen = np.arange(len(row))
    if per_prompt is not None:
        # the smallest of exponential draws, slowed by a group's size: drawn without replacement, rare groups first
        draw = rng.exponential(size=len(row))
        if group is not None:
            draw *= np.bincount(group)[group]
        chosen = np.sort(_first_of_each(row, draw, per_prompt))
    if group is None:
        return chosen
    sizes = np.bincount(group[chosen])
    cap = int(np.ceil(np.median(sizes[sizes > 0])))
    return np.sort(chosen[_first_of_each(group[chosen], rng.random(len(chosen)), cap)])


def _first_of_each(group: IndexArray, draw: FloatArray, n: int) -> IndexArray:
    """Indices of the `n` lowest draws of each group."""
    order = np.lexsort((draw, group))
    in_order = group[order]
    starts = np.flatnonzero(np.r_[True, in_order[1:] != in_order[:-1]])
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    return order[rank < n]


def _groups(detail: IndexArray, outcome: FloatArray, chosen: IndexArray, names: Sequence[str]) -> tuple[GoldGroup, ...]:
    possible = np.bincount(detail)
    kept = np.bincount(detail[chosen], minlength=len(possible))
    ties = np.bincount(detail[chosen], outcome[chosen] == 0.5, minlength=len(possible))
    return tuple(
        GoldGroup(
            tier_a=i // len(names) // _MAX_TIERS,
            tier_b=i // len(names) % _MAX_TIERS,
            source=names[i % len(names)],
            n_possible=int(possible[i]),
            n_kept=int(kept[i]),
            tie_share=float(ties[i] / kept[i]) if kept[i] else float("nan"),
        )
        for i in np.flatnonzero(possible).tolist()
    )
