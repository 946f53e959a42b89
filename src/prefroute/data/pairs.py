"""From battles or outcomes to what a pairwise router learns: prompts with P(strong preferred), ties half.

With 0/1 outcomes "strong preferred, ties half" is `(1 + E[quality_strong - quality_weak]) / 2`, so both tables train
the same quantity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prefroute.errors import DataError, nearest
from prefroute.types import Battles, FloatArray, IndexArray, Mixture, Outcomes, Source

__all__ = ["WinExamples", "pooled", "win_examples"]


@dataclass(frozen=True, slots=True, eq=False)
class WinExamples:
    """Labelled prompts of one pair.

    Attributes:
        prompts: n strings.
        win: P(strong preferred to weak), ties half, in [0, 1], shape (n,).
        quality: Mean quality of the two models, in [0, 1], NaN where the row is a battle, shape (n,).
        source: Which source each row is from, shape (n,).
        weight: How much each row counts, > 0, shape (n,).
        sources: Names of the sources; one, "data", for a table that is no mixture.
    """

    prompts: Sequence[str]
    win: FloatArray
    quality: FloatArray
    source: IndexArray
    weight: FloatArray
    sources: tuple[str, ...]


def win_examples(data: Battles | Outcomes | Mixture, strong: str, weak: str) -> WinExamples:
    """The rows of `data` that compare `strong` with `weak`; in a mixture, each source's own pair.

    Raises:
        DataError: If a model is not in the data, no row compares the two, or every label is the same.

    Example:
        >>> data = Battles.of(["hi", "2+2?"], ["big", "small"], ["small", "big"], [1.0, 1.0])
        >>> win_examples(data, "big", "small").win.tolist()
        [1.0, 0.0]
    """
    parts = data.sources if isinstance(data, Mixture) else (Source("data", data, strong, weak),)
    found = [_of_source(part) for part in parts]
    win = np.concatenate([labels for _, labels, _ in found])
    if np.ptp(win) == 0:
        raise DataError(
            f"All {len(win)} labels of {strong!r} against {weak!r} are {win[0]:g}: nothing can be learned from labels "
            "that never differ. Bring rows in which each of the two wins."
        )
    sizes = [len(labels) for _, labels, _ in found]
    return WinExamples(
        prompts=[prompt for prompts, _, _ in found for prompt in prompts],
        win=win,
        quality=np.concatenate([quality for _, _, quality in found]),
        source=np.repeat(np.arange(len(parts)), sizes),
        weight=np.repeat([part.weight for part in parts], sizes),
        sources=tuple(part.name for part in parts),
    )


def pooled(data: Battles | Outcomes | Mixture, strong: str, weak: str) -> tuple[Battles | Outcomes, FloatArray]:
    """One table for a kind that compares models, and how much each of its rows counts, shape (n,).

    Of a mixture that is a soft battle of `strong` against `weak` for each row that compares its source's own pair. Any
    other table stays as it is, with weights of 1.

    Raises:
        DataError: If a model is not in the data, a source does not compare its pair, every label of a mixture is the
            same, or no row of outcomes holds two answers.

    Example:
        >>> votes = Battles.of(["hi", "2+2?"], ["huge", "tiny"], ["tiny", "huge"], [1.0, 1.0])
        >>> table, weight = pooled(Mixture((Source("votes", votes, "huge", "tiny", weight=0.5),)), "big", "small")
        >>> table.models, table.outcome.tolist(), weight.tolist()
        (('big', 'small'), [1.0, 0.0], [0.5, 0.5])
    """
    if isinstance(data, Mixture):
        examples = win_examples(data, strong, weak)
        first = np.zeros(len(examples.win), dtype=np.int32)
        return Battles(examples.prompts, (strong, weak), first, first + 1, examples.win), examples.weight
    for model in (strong, weak):
        if model not in data.models:
            raise DataError(nearest(model, data.models, "model"))
    if isinstance(data, Outcomes) and (~np.isnan(data.quality)).sum(axis=1).max(initial=0) < 2:
        raise _one_sided("two models", len(data))
    return data, np.ones(len(data))


def _one_sided(models: str, n: int) -> DataError:
    return DataError(
        f"No prompt was answered by {models} ({n} rows read), and a router of a pair learns from both answers to one "
        "prompt. Bring prompts that both answered, or learn from one-sided scores, as feedback is: prefroute adapt "
        "--data PATH"
    )


def _of_source(source: Source) -> tuple[list[str], FloatArray, FloatArray]:
    data, strong, weak = source.data, source.strong, source.weak
    if strong == weak:
        raise DataError(f"`strong` and `weak` must be two models, got {strong!r} twice.")
    for model in (strong, weak):
        if model not in data.models:
            raise DataError(nearest(model, data.models, "model"))
    found = _from_battles(data, strong, weak) if isinstance(data, Battles) else _from_outcomes(data, strong, weak)
    if not found[0]:
        if isinstance(data, Outcomes):
            raise _one_sided(f"both {strong!r} and {weak!r}", len(data))
        raise DataError(
            f"No row compares {strong!r} with {weak!r} ({len(data)} rows read). Choose a pair that meets, or group the "
            "models of battles into tiers first (`prefroute train --tiers 10`)."
        )
    return found


def _from_battles(battles: Battles, strong: str, weak: str) -> tuple[list[str], FloatArray, FloatArray]:
    s, w = battles.models.index(strong), battles.models.index(weak)
    forward = (battles.model_a == s) & (battles.model_b == w)
    backward = (battles.model_a == w) & (battles.model_b == s)
    rows = np.flatnonzero(forward | backward)
    win: FloatArray = np.where(forward[rows], battles.outcome[rows], 1 - battles.outcome[rows])
    return [battles.prompts[i] for i in rows.tolist()], win, np.full(len(rows), np.nan)


def _from_outcomes(outcomes: Outcomes, strong: str, weak: str) -> tuple[list[str], FloatArray, FloatArray]:
    gain = outcomes.gain(strong, weak)
    rows = np.flatnonzero(~np.isnan(gain))
    quality = outcomes.select([strong, weak]).quality[rows].mean(axis=1)
    return [outcomes.prompts[i] for i in rows.tolist()], (1 + gain[rows]) / 2, quality
