"""`ensemble`: routers of several kinds side by side, their scores added up with weights that were cross-validated.

    win_rate = sigmoid(slope * sum_k weight_k * logit(win_rate_k) + intercept)

Every member is fitted without a fold and scores that fold; the weights are those that explain the labels from these
scores, drawn towards equal weights and never negative; the logistic link is fitted on the same scores. Then every
member is fitted again on all rows. It knows nothing of how its members score.

Source: stacking (Wolpert 1992, Neural Networks 5, "Stacked generalization"), with weights that are not negative
(Breiman 1996, Machine Learning 24, "Stacked regressions"). Differs: weights drawn towards equal ones.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from prefroute.data import WinExamples, prompt_folds, win_examples
from prefroute.errors import CheckpointError, ConfigError
from prefroute.routers import routers
from prefroute.routers._response import cautious
from prefroute.routers._sigmoid import logistic_link, sigmoid
from prefroute.routers.base import Router, RouterState, check_data, check_prompts
from prefroute.types import Battles, Embedder, FloatArray, Mixture, Outcomes

__all__ = ["Ensemble"]

_SUREST = 1e-6  # a member that is surer than this says no more by it
_BATCH = 256  # prompts whose vectors are held at once


class Ensemble(Router):
    """Members of several kinds, stacked.

    Args:
        strong: Name of the strong model.
        weak: Name of the weak model.
        embedder: Given to the members that take one; it is asked once for all of them.
        members: Registered kinds, two or more, with the settings that they come with. `mf` takes the extra `train` to
            be fitted, none to score.
        folds: Folds of the cross-validation, 2 to 100: every member is fitted so many times and once more.
        seed: Draws the folds, and whatever members draw.

    Attributes:
        members_: The fitted members, k routers.
        weights_: How much each member's logit counts, shape (k,), 0 or more.
        link_: Slope and intercept, shape (2,).

    Example:
        >>> from prefroute.testing import HashEmbedder, tiny_battles
        >>> router = Ensemble("big", "small", HashEmbedder(), members=("linear", "knn")).fit(tiny_battles())
        >>> router.win_rate(["Prove it."]).shape, router.weights_.shape
        ((1,), (2,))
    """

    kind: ClassVar[str] = "ensemble"
    uses_embedder: ClassVar[bool] = True
    learns_from = (Battles, Outcomes, Mixture)

    def __init__(
        self,
        strong: str,
        weak: str,
        embedder: Embedder,
        *,
        members: Sequence[str] = ("linear", "mf"),
        folds: int = 5,
        seed: int = 0,
    ) -> None:
        self.strong = strong
        self.weak = weak
        self.embedder = embedder
        self.members = members
        self.folds = folds
        self.seed = seed

    def fit(self, data: Battles | Outcomes | Mixture) -> Self:
        """Learn the members and their weights; a fit that fails leaves the router as it was.

        Raises:
            ConfigError: If a parameter is out of its range.
            DataError: If there are fewer distinct prompts than folds, or a member cannot learn from the data or from
                what is left of it without a fold.
            MissingExtraError: If a member takes an extra that is not installed.
        """
        check_data(self, data)
        self._check_parameters()
        examples = win_examples(data, self.strong, self.weak)
        vectors = _HeldVectors(self.embedder)
        vectors.hold(data.prompts)
        held_out = self._held_out(data, examples.prompts, vectors)
        members = [member.fit(data) for member in self._unfitted(vectors)]
        vectors.hold(())
        self.weights_, self.link_ = _stacked(held_out, examples)
        self._vectors, self.members_ = vectors, members
        return self

    def win_rate(self, prompts: Sequence[str]) -> FloatArray:
        """P(strong preferred to weak | prompt), in [0, 1], shape (n,)."""
        self._require("members_")
        check_prompts(prompts)
        scores = np.empty(len(prompts))
        for begin in range(0, len(prompts), _BATCH):
            batch = prompts[begin : begin + _BATCH]
            self._vectors.hold(batch)
            scores[begin : begin + _BATCH] = _logits(self.members_, batch) @ self.weights_
        return sigmoid(self.link_[0] * scores + self.link_[1])

    def state(self) -> RouterState:
        """Every member's state and parameters under its kind, the weights and the link."""
        self._require("members_")
        arrays: dict[str, npt.NDArray[Any]] = {"weights": self.weights_, "link": self.link_}
        meta = {}
        for member in self.members_:
            state = member.state()
            arrays |= {f"{member.kind}/{name}": array for name, array in state.arrays.items()}
            meta[member.kind] = {"params": member.params(), "meta": dict(state.meta)}
        return RouterState(arrays, meta)

    def restore(self, state: RouterState) -> Self:
        """Become the router that `state` was taken from.

        Raises:
            CheckpointError: If the tensors do not fit together.
        """
        weights, link = state.arrays["weights"], state.arrays["link"]
        if (weights.shape, link.shape, set(state.meta)) != ((len(self.members),), (2,), set(self.members)):
            raise CheckpointError("The weights in the checkpoint do not fit its members. Train again.")
        vectors = _HeldVectors(self.embedder)
        members = []
        for kind in self.members:
            arrays = {name.partition("/")[2]: x for name, x in state.arrays.items() if name.startswith(f"{kind}/")}
            member = _made(kind, vectors, state.meta[kind]["params"])
            members.append(member.restore(RouterState(arrays, state.meta[kind]["meta"])))
        self._vectors, self.members_, self.weights_, self.link_ = vectors, members, weights, link
        return self

    def _held_out(
        self, data: Battles | Outcomes | Mixture, prompts: Sequence[str], vectors: _HeldVectors
    ) -> FloatArray:
        """Log odds of prompts of `data` by members that were fitted without the prompt's fold, shape (n, k)."""
        folds = prompt_folds(data.prompts, self.folds, self.seed)
        fold_of = dict(zip(data.prompts, folds.tolist(), strict=True))
        fold = np.array([fold_of[prompt] for prompt in prompts])  # (n,)
        logits = np.zeros((len(prompts), len(self.members)))
        for out in range(self.folds):
            known = data.take(np.flatnonzero(folds != out))
            fitted = [member.fit(known) for member in self._unfitted(vectors)]
            rows = np.flatnonzero(fold == out)
            logits[rows] = _logits(fitted, [prompts[i] for i in rows.tolist()])
        return logits

    def _unfitted(self, vectors: _HeldVectors) -> list[Router]:
        offered = {"strong": self.strong, "weak": self.weak, "seed": self.seed}
        return [_made(kind, vectors, offered) for kind in self.members]

    def _check_parameters(self) -> None:
        if isinstance(self.members, str) or len(set(self.members)) != len(self.members) or len(self.members) < 2:
            raise ConfigError(
                f"`members` must be a list of two or more different kinds, got {self.members!r}. "
                'Example: ["linear", "mf"].'
            )
        if not (isinstance(self.folds, int) and 2 <= self.folds <= 100):
            raise ConfigError(f"`folds` must be a whole number from 2 to 100, got {self.folds!r}.")


class _HeldVectors:
    """The embedder, asked once for texts that several members ask for in turn.

    Safe in several threads: one that finds other texts held has its own embedded again.
    """

    def __init__(self, embedder: Embedder) -> None:
        self.id, self.spec, self.dim, self.trained_on = embedder.id, embedder.spec, embedder.dim, embedder.trained_on
        self._embedder = embedder
        self._held: dict[str, npt.NDArray[np.float32]] = {}

    def hold(self, prompts: Sequence[str]) -> None:
        """Embed these, and forget the others."""
        texts = list(dict.fromkeys(prompts))
        self._held = dict(zip(texts, self._embedder.encode(texts), strict=True)) if texts else {}

    def encode(self, prompts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Vectors of the prompts, shape (n, d)."""
        held = self._held
        if prompts and all(prompt in held for prompt in prompts):
            return np.stack([held[prompt] for prompt in prompts])
        return self._embedder.encode(prompts)


def _made(kind: str, embedder: _HeldVectors, offered: Mapping[str, Any]) -> Router:
    """An unfitted router of the kind, with those of the offered arguments that it takes."""
    router_class: Callable[..., Router] = routers.get(kind)
    taken = set(inspect.signature(router_class).parameters)
    return router_class(**{name: x for name, x in {**offered, "embedder": embedder}.items() if name in taken})


def _logits(members: Sequence[Router], prompts: Sequence[str]) -> FloatArray:
    """Log odds of each member's win rate, shape (n, k)."""
    rates = np.stack([member.win_rate(prompts) for member in members], axis=1)
    bounded = np.minimum(np.maximum(rates, _SUREST), 1 - _SUREST)
    logits: FloatArray = np.log(bounded / (1 - bounded))
    return logits


def _stacked(logits: FloatArray, examples: WinExamples) -> tuple[FloatArray, FloatArray]:
    """Weights (k,) and link (2,) from held-out log odds, shape (n, k)."""
    k = logits.shape[1]
    mean = float(np.average(examples.win, weights=examples.weight))
    columns = mean * (1 - mean) * (logits - logits.mean(axis=0))  # what a step of the log odds is worth in win rate
    found = cautious(columns, examples.win - mean, examples.weight, [1 / k] * k)
    weights = np.maximum(found, 0.0)
    return weights, logistic_link(logits @ weights, examples.win, examples.weight)
