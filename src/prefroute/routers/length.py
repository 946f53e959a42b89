"""The baseline that every table must show: longer prompts go to the strong model.

Alone it beats most published routers on GSM8K (APGR .598) and some on MMLU (.586), so a learned router that does not
beat it has learned little.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from prefroute.errors import CheckpointError
from prefroute.routers.base import Router, RouterState, check_data, check_prompts
from prefroute.types import Battles, FloatArray, Mixture, Outcomes

__all__ = ["Length"]

_MIN_SPREAD = 0.5  # keeps the link away from 0 and 1 when all training prompts have nearly one length


class Length(Router):
    """The longer the prompt, the higher the score: a logistic link of log(1 + characters).

    `win_rate = sigmoid((log(1 + characters) - location) / spread)`. Fitting learns the location (the median) and the
    spread (the standard deviation, at least 0.5) from the training prompts. The direction is fixed, and labels are not
    read: the order of the scores is that of the lengths, whatever it was fitted on.

    Args:
        strong: Name of the strong model.
        weak: Name of the weak model.

    Example:
        >>> data = Battles.of(["hi", "a longer prompt"], ["big", "big"], ["small", "small"], [0.0, 1.0])
        >>> Length("big", "small").fit(data).win_rate(["hi", "hi there", "a longer prompt"]).round(2)
        array([0.27, 0.58, 0.73])
    """

    kind: ClassVar[str] = "length"
    learns_from = (Battles, Outcomes, Mixture)

    def __init__(self, strong: str, weak: str) -> None:
        self.strong = strong
        self.weak = weak

    def fit(self, data: Battles | Outcomes | Mixture) -> Self:
        """Learn the usual length of a prompt, from any data. See `Router.fit`."""
        check_data(self, data)
        sizes = _log_sizes(data.prompts)
        self.location_ = float(np.median(sizes))
        self.spread_ = max(float(np.std(sizes)), _MIN_SPREAD)
        return self

    def win_rate(self, prompts: Sequence[str]) -> FloatArray:
        """Scores that rise with the number of characters, in (0, 1), shape (n,). See `Router.win_rate`."""
        self._require("location_")
        z = (_log_sizes(check_prompts(prompts)) - self.location_) / self.spread_
        return 1 / (1 + np.exp(-z))

    def state(self) -> RouterState:
        """Location and spread. See `Router.state`."""
        self._require("location_")
        return RouterState(meta={"location": self.location_, "spread": self.spread_})

    def restore(self, state: RouterState) -> Self:
        """See `Router.restore`."""
        location, spread = float(state.meta["location"]), float(state.meta["spread"])
        if not (np.isfinite(location) and spread >= _MIN_SPREAD and np.isfinite(spread)):
            raise CheckpointError(f"`location` and `spread` must be finite, got {location} and {spread}. Train again.")
        self.location_, self.spread_ = location, spread
        return self


def _log_sizes(prompts: Sequence[str]) -> FloatArray:
    return np.log1p(np.array([len(prompt) for prompt in prompts], dtype=np.float64))
