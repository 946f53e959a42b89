"""What matrix factorization learns from: who met whom on which prompt, and how it went. Private to the routers room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prefroute.data import pooled, prompt_folds
from prefroute.errors import DataError
from prefroute.train.report import HeldOut
from prefroute.types import Battles, FloatArray, IndexArray, Mixture, Outcomes

__all__ = ["Comparisons", "comparisons", "held_out_pair", "held_out_rows"]

_BLOCK_ROWS = 4096

_Table = tuple[IndexArray, IndexArray, IndexArray, FloatArray]  # row of the data, first, second, outcome


@dataclass(frozen=True, slots=True, eq=False)
class Comparisons:
    """Soft battles among the models that met.

    Attributes:
        prompts: Distinct prompts, n of them.
        row: Which prompt each comparison is about, shape (k,).
        first: Index into `models` of one contestant, shape (k,).
        second: Index into `models` of the other, greater than `first`, shape (k,).
        outcome: P(first preferred), ties half, in [0, 1], shape (k,).
        weight: How much each comparison counts, with mean 1, shape (k,).
        models: Those that met another, m names.
    """

    prompts: Sequence[str]
    row: IndexArray
    first: IndexArray
    second: IndexArray
    outcome: FloatArray
    weight: FloatArray
    models: tuple[str, ...]


def comparisons(
    data: Battles | Outcomes | Mixture, strong: str, weak: str, *, ties: str, pairs_per_prompt: int, seed: int
) -> Comparisons:
    """Battles as they are; of outcomes, at most `pairs_per_prompt` pairs of models of each row, drawn by the seed.

    Of a mixture, a weighted comparison of the classes `strong` and `weak` for each row that compares its source's pair.

    A pair of outcomes is a soft battle with outcome `(1 + quality_first - quality_second) / 2`. The pair
    (strong, weak) is always among a row's pairs where both were observed: it is what will be asked for.

    Raises:
        DataError: If `strong` or `weak` is not in the data or never met another model, or every label is the same.
    """
    table, weights = pooled(data, strong, weak)
    if isinstance(table, Battles):
        row, first, second, outcome = _from_battles(table)
    else:
        wanted = sorted((table.column(strong), table.column(weak)))
        row, first, second, outcome = _from_outcomes(table, (wanted[0], wanted[1]), pairs_per_prompt, seed)
    if ties == "drop":
        kept = np.flatnonzero(outcome != 0.5)
        row, first, second, outcome = row[kept], first[kept], second[kept], outcome[kept]
    met = np.unique(np.concatenate([first, second]))
    models = tuple(table.models[i] for i in met)
    _check(outcome, models, strong, weak)
    position: dict[str, int] = {}
    place = np.array([position.setdefault(table.prompts[i], len(position)) for i in row.tolist()], dtype=np.intp)
    return Comparisons(
        prompts=list(position),
        row=place,
        first=np.searchsorted(met, first),
        second=np.searchsorted(met, second),
        outcome=outcome,
        weight=weights[row] / weights[row].mean(),
        models=models,
    )


def held_out_rows(table: Comparisons, share: float, seed: int) -> tuple[IndexArray, IndexArray]:
    """Comparisons to learn from and comparisons to hold out; equal prompts, once normalised, are on one side.

    Raises:
        DataError: If there are not two distinct prompts.
    """
    n_distinct = len(set(table.prompts))
    folds = prompt_folds(table.prompts, max(2, min(round(1 / share), n_distinct)), seed)
    out = (folds == 0)[table.row]
    return np.flatnonzero(~out), np.flatnonzero(out)


def held_out_pair(table: Comparisons, rows: IndexArray, win_rate: FloatArray, strong: str, weak: str) -> HeldOut | None:
    """Those of the held-out rows in which `strong` met `weak`; None where they did not.

    Args:
        table: Comparisons.
        rows: Those that were held out, shape (k,).
        win_rate: P(first preferred) of each as it was scored, in [0, 1], shape (k,).
        strong: One of the models.
        weak: Another.
    """
    s, w = table.models.index(strong), table.models.index(weak)
    met = np.flatnonzero((table.first[rows] == min(s, w)) & (table.second[rows] == max(s, w)))
    if not len(met):
        return None
    scored, observed = win_rate[met], table.outcome[rows[met]]
    if s > w:
        scored, observed = 1 - scored, 1 - observed
    return HeldOut([table.prompts[i] for i in table.row[rows[met]].tolist()], scored, observed, is_learned_later=True)


def _check(outcome: FloatArray, models: tuple[str, ...], strong: str, weak: str) -> None:
    if not len(outcome):
        raise DataError("No row compares two models once ties are dropped. Bring rows in which one of two models wins.")
    for model in (strong, weak):
        if model not in models:
            raise DataError(f"{model!r} never met another model in this data. Bring rows in which it did.")
    if np.ptp(outcome) == 0 and (len(models) == 2 or outcome[0] == 0.5):
        raise DataError(
            f"All {len(outcome)} comparisons came out {outcome[0]:g}: nothing can be learned from labels that never "
            "differ. Bring rows in which each of two models wins."
        )


def _from_battles(battles: Battles) -> _Table:
    swapped = battles.model_a > battles.model_b
    first = np.where(swapped, battles.model_b, battles.model_a).astype(np.intp)
    second = np.where(swapped, battles.model_a, battles.model_b).astype(np.intp)
    outcome = np.where(swapped, 1 - battles.outcome, battles.outcome)
    return np.arange(len(battles)), first, second, outcome


def _from_outcomes(outcomes: Outcomes, wanted: tuple[int, int], most: int, seed: int) -> _Table:
    rng = np.random.default_rng(seed)
    first, second = np.triu_indices(len(outcomes.models), k=1)  # (p,) each
    parts: list[_Table] = []
    for begin in range(0, len(outcomes), _BLOCK_ROWS):
        quality = outcomes.quality[begin : begin + _BLOCK_ROWS]
        gain = quality[:, first] - quality[:, second]  # (b, p), NaN where either was not observed
        draw = rng.random(gain.shape)
        draw[:, (first == wanted[0]) & (second == wanted[1])] = -1.0
        draw[np.isnan(gain)] = np.inf
        if most < gain.shape[1]:
            last = np.partition(draw, most - 1, axis=1)[:, most - 1 : most]
            draw[draw > last] = np.inf
        row, pair = np.nonzero(np.isfinite(draw))
        parts.append((row + begin, first[pair], second[pair], (1 + gain[row, pair]) / 2))
    row, one, other, outcome = (np.concatenate(part) for part in zip(*parts, strict=True))
    return row, one, other, outcome
