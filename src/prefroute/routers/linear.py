"""`linear`: ridge regressions on three views of a prompt, stacked. The router to try first.

The views are hashed word n-grams (TF-IDF), the embedding, and surface counts (length, digits, line breaks ...). Each
gets a ridge regression of its own on the gain, with a strength chosen by cross-validation inside the training data;
non-negative least squares on the held-out predictions, shrunk towards equal weights, says how much each view counts;
and a logistic link fitted on the same held-out predictions turns the sum into a win rate. Nothing that `fit` chooses
is chosen on data that a report is made from.

Source: the paper (Ong et al. 2024, arXiv:2406.18665) has no linear router. That linear heads on small frozen
embeddings match heavier routers is the finding of later work (docs/reference/routers.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from prefroute.data import win_examples
from prefroute.routers._ridge import STRENGTHS
from prefroute.routers._sigmoid import sigmoid
from prefroute.routers._view_router import ViewRouter
from prefroute.routers._views import TENSORS, VIEWS, Heads, fit_head, logistic_link, training_views
from prefroute.routers.base import RouterState, check_data, check_prompts, checked_arrays
from prefroute.types import Battles, FloatArray, Mixture, Outcomes

__all__ = ["Linear"]


class Linear(ViewRouter):
    """Stacked ridge regressions on n-grams, embedding and surface counts.

    Parameters are those of `ViewRouter`.

    Attributes:
        strengths_: The ridge strength that was chosen for each view.
        link_: Slope and intercept of the logistic link, shape (2,).

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
        scaling, views = training_views(self.embedder, examples.prompts, self.ngrams, self.bits)
        target = examples.win - np.average(examples.win, weights=examples.weight)
        folds = self._inner_folds(examples.prompts)
        head = fit_head(views, target, examples.weight, folds, STRENGTHS)
        self.heads_ = Heads.of(scaling, [head.coefs], self.ngrams)
        self.link_ = logistic_link(head.held_out, examples.win, examples.weight)
        self.strengths_ = dict(zip(VIEWS, head.strengths, strict=True))
        return self

    def win_rate(self, prompts: Sequence[str]) -> FloatArray:
        """P(strong preferred to weak | prompt), in [0, 1], shape (n,)."""
        self._require("link_")
        gain = self.heads_.score(self.embedder, check_prompts(prompts))[:, 0]
        return sigmoid(self.link_[0] * gain + self.link_[1])

    def state(self) -> RouterState:
        """Scaling and coefficients of the views, and the link."""
        self._require("link_")
        return RouterState({**self.heads_.arrays(), "link": self.link_}, {"strengths": self.strengths_})

    def restore(self, state: RouterState) -> Self:
        """Become the router that `state` was taken from."""
        arrays = checked_arrays(state, TENSORS | {"link": ("float64", 1)})
        self.heads_ = Heads.restore(arrays, self.ngrams)
        self.link_ = arrays["link"]
        self.strengths_ = dict(state.meta["strengths"])
        return self
