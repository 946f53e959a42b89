"""Where a prompt belongs: which source it looks like, and whether it looks like any. Private to the routers room.

For each source a ridge regression on the n-grams answers "is this row from it?", 1 or 0. Words and formats tell
sources apart better than meanings do: 999 of 1,000 MMLU questions find theirs. The answers carry no intercept: text
that shares nothing with the training rows is answered by about 0, whatever the size of a source. How strong an answer
must be to be believed is learned by leaving out each source in turn.

Shapes: n rows, s sources.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prefroute.routers._ridge import SparseRows, ridge_path
from prefroute.routers._sigmoid import logistic_link, sigmoid
from prefroute.routers._views import dealt
from prefroute.train.calibration import softmax
from prefroute.types import FloatArray, IndexArray

__all__ = ["Gate", "familiarity", "fit_gate", "shares"]

_L2 = 0.1
_STEPS = 12  # of the solve, which is stopped early: it generalises as well and costs a quarter
_FOLDS = 3  # enough for two numbers
_ODDS = 2.0  # of familiar prompts against new ones: more doubt costs quality on known sources, less costs it elsewhere
_TEMPERATURE = 32.0  # sharp: with many sources, a little for each of the wrong ones adds up


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """A fitted gate.

    Attributes:
        coefs: Coefficients of the answer for each source on the n-grams, s arrays of shape (V,).
        link: Slope and intercept of `familiarity`, shape (2,).
    """

    coefs: list[FloatArray]
    link: FloatArray


def shares(answers: FloatArray) -> FloatArray:
    """How much a prompt looks like each source, rows of sum 1, from answers of the same shape (n, s)."""
    return softmax(_TEMPERATURE * answers)


def familiarity(answers: FloatArray, link: FloatArray) -> FloatArray:
    """How surely a prompt is from one of the sources, in [0, 1], shape (n,), from answers of shape (n, s)."""
    return sigmoid(link[0] * answers.max(axis=1, initial=-1.0) + link[1])


def fit_gate(text: SparseRows, source: IndexArray, weight: FloatArray, folds: IndexArray) -> Gate:
    """Fit the answers, and how strong they are for prompts of no source.

    Args:
        text: The n-gram view, shape (n, V).
        source: Source of each row, 0 to s - 1, every one of which has a row, shape (n,).
        weight: Of each row in the fit of `familiarity`, shape (n,).
        folds: Fold of each row, shape (n,).
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
    link = logistic_link(np.concatenate([seen, new]), is_familiar, np.concatenate([_ODDS * weight, weight]))
    return Gate(_fit(text, member), link)


def _fit(text: SparseRows, member: FloatArray) -> list[FloatArray]:
    """Coefficients of the answers for rows that belong to sources as `member` says, shape (n, s)."""
    return [ridge_path(text, column, np.ones(len(member)), (_L2,), _STEPS)[0] for column in member.T]


def _strongest(text: SparseRows, coefs: Sequence[FloatArray]) -> FloatArray:
    found: FloatArray = np.max([text @ coef for coef in coefs], axis=0)
    return found
