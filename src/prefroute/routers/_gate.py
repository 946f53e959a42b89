"""Where a prompt belongs: which source it looks like, and whether it looks like any. Private to the routers room.

For each source a ridge regression on the n-grams answers "is this row from it?", 1 or 0. Words and formats tell
sources apart better than meanings do: 999 of 1,000 MMLU questions find theirs. The answers carry no intercept: text
that shares nothing with the training rows is answered by about 0, whatever the size of a source. How strong an answer
must be to be believed is learned by leaving out each source in turn.

Shapes: n rows, s sources.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prefroute.routers._ridge import SparseRows, ridge_path
from prefroute.routers._sigmoid import logistic, logistic_link
from prefroute.routers._views import dealt
from prefroute.types import FloatArray, IndexArray

__all__ = ["Gate", "belonging", "fit_gate"]

_L2 = 0.1
_STEPS = 12  # of the solve, which is stopped early: it generalises as well and costs a quarter
_FOLDS = 3  # enough for two numbers
_TEMPERATURE = 32.0  # sharp: with many sources, a little for each of the wrong ones adds up


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """A fitted gate.

    Attributes:
        coefs: Coefficients of the answer for each source on the n-grams, s arrays of shape (V,).
        link: Slope and intercept of how surely a prompt is from a source, by the strongest answer, shape (2,).
    """

    coefs: list[FloatArray]
    link: FloatArray


def belonging(answers: Sequence[float], link: Sequence[float]) -> tuple[float, list[float]]:
    """How surely a prompt is from one of the sources, in [0, 1], and how much it looks like each, numbers of sum 1.

    Args:
        answers: What the gate answers for each source, s numbers.
        link: Of the gate, two numbers.
    """
    strongest = max(answers)
    odds = [math.exp(_TEMPERATURE * (answer - strongest)) for answer in answers]
    total = sum(odds)
    return logistic(link[0] * strongest + link[1]), [chance / total for chance in odds]


def fit_gate(text: SparseRows, source: IndexArray, weight: FloatArray, folds: IndexArray, odds: float) -> Gate:
    """Fit the answers, and how strong they are for prompts of no source.

    Args:
        text: The n-gram view, shape (n, V).
        source: Source of each row, 0 to s - 1, every one of which has a row, shape (n,).
        weight: Of each row in the fit of the link, shape (n,).
        folds: Fold of each row, shape (n,).
        odds: Of familiar prompts against new ones, 0 or more.
    """
    member = (source[:, None] == np.unique(source)).astype(np.float64)  # (n, s)
    seen, new = np.zeros((2, len(source)))  # strongest answer to each row from fits with and without its source
    coarse = dealt(folds % _FOLDS)
    for fold in np.unique(coarse):
        out, kept = np.flatnonzero(coarse == fold), np.flatnonzero(coarse != fold)
        seen[out] = _strongest(text[out], _fit(text[kept], member[kept]))
    for left_out in range(member.shape[1]):
        out, kept = np.flatnonzero(source == left_out), np.flatnonzero(source != left_out)
        new[out] = _strongest(text[out], _fit(text[kept], np.delete(member[kept], left_out, axis=1)))
    is_familiar = np.repeat([1.0, 0.0], len(source))
    link = logistic_link(np.concatenate([seen, new]), is_familiar, np.concatenate([odds * weight, weight]))
    return Gate(_fit(text, member), link)


def _fit(text: SparseRows, member: FloatArray) -> list[FloatArray]:
    """Coefficients of the answers for rows that belong to sources as `member` says, shape (n, s)."""
    return [ridge_path(text, column, np.ones(len(member)), (_L2,), _STEPS)[0] for column in member.T]


def _strongest(text: SparseRows, coefs: Sequence[FloatArray]) -> FloatArray:
    found: FloatArray = np.max([text @ coef for coef in coefs], axis=0)
    return found
