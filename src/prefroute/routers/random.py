"""The baseline that knows nothing: a score drawn from the prompt's hash and a seed.

A score is a function of the prompt, not of the call, so the router obeys the same contract as every other: order,
batch size and process do not change it, and duplicates score equally. Tables also show the analytic 0.5 line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from prefroute.prompts import prompt_hash
from prefroute.routers.base import Router, RouterState, check_data, check_prompts
from prefroute.types import Battles, FloatArray, Mixture, Outcomes

__all__ = ["Random"]


class Random(Router):
    """Scores uniform in (0, 1), fixed by the normalised prompt and the seed.

    Args:
        strong: Name of the strong model.
        weak: Name of the weak model.
        seed: Chooses one of the possible draws.

    Example:
        >>> data = Battles.of(["hi"], ["big"], ["small"], [1.0])
        >>> router = Random("big", "small", seed=1).fit(data)
        >>> router.win_rate(["What is 2 + 2?", "what is  2 + 2?"]).round(3)
        array([0.604, 0.604])
    """

    kind: ClassVar[str] = "random"
    learns_from = (Battles, Outcomes, Mixture)

    def __init__(self, strong: str, weak: str, *, seed: int = 0) -> None:
        self.strong = strong
        self.weak = weak
        self.seed = seed

    def fit(self, data: Battles | Outcomes | Mixture) -> Self:
        """Nothing to learn: remembers how many rows it was shown. See `Router.fit`."""
        check_data(self, data)
        self.n_rows_ = len(data)
        return self

    def win_rate(self, prompts: Sequence[str]) -> FloatArray:
        """Uniform draws in (0, 1), shape (n,). See `Router.win_rate`."""
        self._require("n_rows_")
        return np.array([self._draw(prompt) for prompt in check_prompts(prompts)], dtype=np.float64)

    def _draw(self, prompt: str) -> float:
        digest = hashlib.sha256(f"{self.seed}:{prompt_hash(prompt)}".encode()).digest()
        return ((int.from_bytes(digest[:8], "big") >> 12) + 0.5) / 2**52  # 52 bits and a half: exact, never 0 or 1

    def state(self) -> RouterState:
        """The number of rows seen. See `Router.state`."""
        self._require("n_rows_")
        return RouterState(meta={"n_rows": self.n_rows_})

    def restore(self, state: RouterState) -> Self:
        """See `Router.restore`."""
        self.n_rows_ = int(state.meta["n_rows"])
        return self
