"""`linear`: ridge regressions on three views of a prompt, stacked. The router to try first.

The views are hashed word n-grams (TF-IDF), the embedding, and a Gaussian kernel on embedding and surface counts
(length, digits, size of numbers ...). Each gets a ridge regression of its own on the gain, and another on the quality
of answers, with a strength chosen by cross-validation inside the training data; a regression on the held-out
predictions, drawn towards equal weights, says how much each view counts and how the gain bends with the quality; and
a logistic link fitted on the same held-out predictions turns the sum into a win rate. Nothing that `fit` chooses is
chosen on data that a report is made from.

Source: the paper (Ong et al. 2024, arXiv:2406.18665) has no linear router. That linear heads on small frozen
embeddings match heavier routers is the finding of later work (docs/reference/routers.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from prefroute.data import win_examples
from prefroute.routers._response import fit_quality, fit_response, win_rate
from prefroute.routers._view_router import ViewRouter
from prefroute.routers._views import TENSORS, VIEWS, Heads, training_views
from prefroute.routers.base import RouterState, check_data, check_prompts, checked_arrays
from prefroute.types import Battles, FloatArray, Mixture, Outcomes

__all__ = ["Linear"]


class Linear(ViewRouter):
    """Stacked ridge regressions on n-grams, embedding and kernel.

    Parameters are those of `ViewRouter`.

    Attributes:
        strengths_: The ridge strength that was chosen for each view.
        shape_: Slope, intercept, curvature and centre of the response, shape (4,).

    Example:
        >>> from prefroute.testing import HashEmbedder, tiny_battles
        >>> router = Linear("big", "small", HashEmbedder()).fit(tiny_battles())
        >>> router.win_rate(["Prove it."]).shape
        (1,)
    """

    kind: ClassVar[str] = "linear"

    def fit(self, data: Battles | Outcomes | Mixture) -> Self:
        """Learn from the rows that compare `strong` with `weak`; in a mixture, from each source's own pair.

        Raises:
            ConfigError: If a parameter is out of its range.
            DataError: If no row compares the pair, or every label is the same.
        """
        check_data(self, data)
        self._check_parameters()
        examples = win_examples(data, self.strong, self.weak)
        scaling, views = training_views(self.embedder, examples.prompts, self.ngrams, self.bits, self.seed)
        folds = self._inner_folds(examples.prompts)
        quality = fit_quality(views, examples.quality, examples.weight, folds)
        found = fit_response(views, examples.win, quality, examples.weight, folds)
        self.heads_ = Heads.of(scaling, [found.gain, found.quality], self.ngrams)
        self.shape_ = found.shape
        self.strengths_ = dict(zip(VIEWS, found.strengths, strict=True))
        return self

    def win_rate(self, prompts: Sequence[str]) -> FloatArray:
        """P(strong preferred to weak | prompt), in [0, 1], shape (n,)."""
        self._require("shape_")
        scores = self.heads_.score(self.embedder, check_prompts(prompts)).tolist()
        shape = self.shape_.tolist()
        return np.array([win_rate(gain, z, shape) for gain, z in scores], dtype=np.float64)

    def state(self) -> RouterState:
        """Coefficients of both heads, and the shape of the response."""
        self._require("shape_")
        return RouterState({**self.heads_.arrays(), "shape": self.shape_}, {"strengths": self.strengths_})

    def restore(self, state: RouterState) -> Self:
        """Become the router that `state` was taken from."""
        arrays = checked_arrays(state, TENSORS | {"shape": ("float64", 1)})
        self.heads_ = Heads.restore(arrays, self.ngrams)
        self.shape_ = arrays["shape"]
        self.strengths_ = dict(state.meta["strengths"])
        return self
