"""Battles and outcomes as wins: who beat whom on which prompt, between models or between tiers of models.

Two tables come out: wins over the whole data, shape (m, m), from which tiers are made; and the wins on each distinct
prompt, from which a query's weighted wins are one sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prefroute.data import win_matrix
from prefroute.types import Battles, FloatArray, IndexArray, Outcomes

__all__ = ["PromptWins", "distinct", "model_wins", "prompt_wins"]

_BLOCK_ROWS = 4096
_BLOCK_WEIGHTS = 2**17  # summed at once: they stay in the cache, twice as fast as all of them

_Wins = tuple[IndexArray, IndexArray, IndexArray, FloatArray]  # row, winner, loser, how much


@dataclass(frozen=True, slots=True, eq=False)
class PromptWins:
    """The cells above zero of the wins on each distinct prompt, by cell, then row; each pair stands once.

    Attributes:
        row: Distinct prompt of each entry, shape (e,).
        cell: `winner * contestants + loser` of each entry, ascending, shape (e,).
        won: Wins of each entry, > 0, shape (e,).
        contestants: Tiers and the anchor, which is the last: t + 1.
    """

    row: npt.NDArray[np.int32]
    cell: npt.NDArray[np.int32]
    won: FloatArray
    contestants: int

    def total(self) -> FloatArray:
        """Wins on all prompts, shape (t + 1, t + 1)."""
        flat: FloatArray = np.bincount(self.cell, self.won, self.contestants**2).astype(np.float64, copy=False)
        return flat.reshape(self.contestants, self.contestants)

    def weighted(self, weights: npt.NDArray[np.float32]) -> FloatArray:
        """Wins on all prompts, each prompt's times its weight, for each query: (n, q) -> (q, t + 1, t + 1)."""
        q = weights.shape[1]
        total = np.zeros((self.contestants**2, q))
        size = max(1, _BLOCK_WEIGHTS // max(1, q))
        for begin in range(0, len(self.row), size):
            block = slice(begin, begin + size)
            starts = np.flatnonzero(np.diff(self.cell[block], prepend=-1))  # where each cell's run begins
            entries = weights[self.row[block]] * self.won[block, None]  # float64
            total[self.cell[block][starts]] += np.add.reduceat(entries, starts, axis=0)
        return total.T.reshape(q, self.contestants, self.contestants)

    def all_ties(self) -> bool:
        """Whether on each prompt every two contestants won as much as they lost against each other."""
        winner, loser = np.divmod(self.cell, self.contestants)
        turned = loser * self.contestants + winner
        order = np.lexsort((self.row, turned))
        return (
            np.array_equal(self.cell, turned[order])
            and np.array_equal(self.row, self.row[order])
            and np.array_equal(self.won, self.won[order])
        )


def distinct(prompts: Sequence[str]) -> tuple[list[str], IndexArray]:
    """Each prompt once, in order of first appearance, and the position of each row's prompt among them, shape (n,)."""
    position: dict[str, int] = {}
    rows = np.array([position.setdefault(prompt, len(position)) for prompt in prompts], dtype=np.intp)
    return list(position), rows


def model_wins(data: Battles | Outcomes) -> FloatArray:
    """Wins of model i over model j in the whole table, a tie half a win each, shape (m, m)."""
    if isinstance(data, Battles):
        return win_matrix(data)
    seen = ~np.isnan(data.quality)
    quality = np.where(seen, data.quality, 0.0)
    met = seen.astype(np.float64)
    ahead = quality.T @ met  # (m, m): sum over shared prompts of quality_i
    wins = (met.T @ met + ahead - ahead.T) / 2
    np.fill_diagonal(wins, 0.0)
    return wins


def prompt_wins(
    data: Battles | Outcomes, tier: IndexArray, rows: IndexArray, weight: FloatArray, *, anchor: bool
) -> PromptWins:
    """Wins of tier i over tier j on each distinct prompt.

    Args:
        data: Battles; or outcomes, of which every two models of different tiers that were observed on one prompt are a
            soft battle with outcome `(1 + quality_i - quality_j) / 2`.
        tier: Tier of each model, 0 to t - 1, shape (m,).
        rows: Which distinct prompt each row of `data` is about, shape (n,).
        weight: How many wins a win counts as in each row of `data`, shape (n,).
        anchor: Whether a battle inside a tier counts as the anchor (contestant t) against that tier; else it is left
            out, since it tells nothing about the order of tiers. Outcomes always leave it out.
    """
    contestants = int(tier.max()) + 2
    made = _from_battles(data, tier, anchor) if isinstance(data, Battles) else _from_outcomes(data, tier)
    row, first, second, won = made
    won = won * weight[row]
    n = int(rows.max()) + 1
    decided = won > 0
    places, entry = np.unique(((first * contestants + second) * n + rows[row])[decided], return_inverse=True)
    cell, row = np.divmod(places, n)
    summed = np.bincount(entry, weights=won[decided], minlength=len(places)).astype(np.float64, copy=False)
    return PromptWins(row.astype(np.int32), cell.astype(np.int32), summed, contestants)


def _from_battles(battles: Battles, tier: IndexArray, anchor: bool) -> _Wins:
    a, b = tier[battles.model_a], tier[battles.model_b]
    row = np.flatnonzero((a != b) | anchor)
    a, b, outcome = np.where(a == b, tier.max() + 1, a)[row], b[row], battles.outcome[row]
    return (
        np.concatenate([row, row]),
        np.concatenate([a, b]),
        np.concatenate([b, a]),
        np.concatenate([outcome, 1 - outcome]),
    )


def _from_outcomes(outcomes: Outcomes, tier: IndexArray) -> _Wins:
    members = np.eye(int(tier.max()) + 1)[tier]  # (m, t)
    parts: list[_Wins] = []
    for begin in range(0, len(outcomes), _BLOCK_ROWS):
        quality = outcomes.quality[begin : begin + _BLOCK_ROWS]
        seen = ~np.isnan(quality)
        count, total = seen @ members, np.where(seen, quality, 0.0) @ members  # (b, t) each
        wins = count[:, :, None] * count[:, None, :]  # (b, t, t): how many pairs meet
        wins += total[:, :, None] * count[:, None, :] - count[:, :, None] * total[:, None, :]
        wins[:, range(members.shape[1]), range(members.shape[1])] = 0.0
        row, first, second = np.nonzero(wins)
        parts.append((row + begin, first, second, wins[row, first, second] / 2))
    row, first, second, won = (np.concatenate(part) for part in zip(*parts, strict=True))
    return row, first, second, won
