"""`abilities`: any number of models, each a logistic curve of how easy a prompt is.

What is hard for one pair of models is hard for others, but where a gain is to be had is another question for every
pair. So `experts` says how easy a prompt is and which of its sources it looks like, and a model is no more than

    quality = sigmoid(ability + slope * ease + level of the source)

which a hundred of its answers are enough to fit. They may be one-sided: a model is fitted on the prompts that it
answered, whoever answered the others.

Source: the two-parameter model of item response theory (Birnbaum 1968, in Lord and Novick, "Statistical theories of
mental test scores"). Differs: the difficulty of a prompt is predicted from its text, by a router that learned it from
other models' answers.

Shapes: n prompts, m models, s sources, c = s + 2 coefficients of a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from prefroute.data import prompt_folds, split_by_hash
from prefroute.errors import CheckpointError, ConfigError, DataError, nearest
from prefroute.metrics import Interval, interval, resample_counts
from prefroute.prompts import prompt_hash
from prefroute.routers._sigmoid import fit_logistic, sigmoid
from prefroute.routers._view_router import ViewRouter
from prefroute.routers.base import NoveltyRouter, PoolRouter, RouterState, check_data, check_pair, check_prompts
from prefroute.routers.experts import Experts
from prefroute.types import Battles, FloatArray, IndexArray, Mixture, Outcomes

__all__ = ["Abilities", "Ability"]

_FEWEST_PROMPTS = 10
_FOLDS = 5  # of the check on what a curve knows
_CURVE_SHARE = 1 / 3  # of the prompts of a fit from scratch: eases of prompts that taught the ruler are too sure
_N_BOOT = 2000
_RANGE = (-12.0, 12.0)  # of an ability that is found from a mean quality: 6e-6 to 1 - 6e-6
_HALVINGS = 50


@dataclass(frozen=True, slots=True)
class Ability:
    """What is known of one model.

    Attributes:
        model: Its name.
        n: Prompts that it was seen on.
        observed: Mean quality there, in [0, 1], with its 95% bootstrap interval.
        skill: Squared error of predicting the mean, less that of cross-validated predictions, likewise: above 0 where
            the curve knows on which prompts the model does better.
    """

    model: str
    n: int
    observed: Interval
    skill: Interval


class Abilities(ViewRouter, PoolRouter, NoveltyRouter):
    """A pool of models on one scale of difficulty.

    `fit` learns the difficulty from the pair in a table of outcomes, then every model's curve. `on` takes the
    difficulty of an `experts` router that is fitted already, such as the one that ships, and learns the curves alone.

    Parameters are those of `ViewRouter`.

    Attributes:
        models: The pool, m names.
        ruler_: The router that says how easy a prompt is.
        curves_: Ability, slope and a level for each source, for each model, shape (m, c).

    Example:
        >>> from prefroute.testing import HashEmbedder, tiny_outcomes
        >>> router = Abilities("big", "small", HashEmbedder(), folds=2).fit(tiny_outcomes())
        >>> router.models, router.predict(["Prove it."]).shape
        (('big', 'small', 'middle'), (1, 3))
    """

    kind: ClassVar[str] = "abilities"
    learns_from = (Outcomes,)

    def fit(self, data: Battles | Outcomes | Mixture) -> Self:
        """Learn the difficulty from two thirds of the prompts, and the curves from the rest.

        Raises:
            ConfigError: If a parameter is out of its range.
            DataError: If the data are no outcomes of the pair, or it was seen on fewer than ten distinct prompts.
        """
        check_data(self, data)
        assert isinstance(data, Outcomes)  # `learns_from`
        self._check_parameters()
        is_rest = split_by_hash(data.prompts, _CURVE_SHARE, self.seed)
        ruler, rest = self._ruler().fit(data.take(~is_rest)), data.take(is_rest)
        curves = _fitted_curves(_features(*ruler.place(rest.prompts)), rest, (self.strong, self.weak))
        return self._become(ruler, curves)

    @classmethod
    def on(cls, ruler: Experts, outcomes: Outcomes, strong: str, weak: str) -> tuple[Self, list[Ability]]:
        """A pool on the difficulty of a fitted router, and what is known of each model.

        Args:
            ruler: Fitted, on other prompts than these.
            outcomes: Of any models; a row may hold one of them only. 100 to 300 prompts a model are enough; one that
                was seen on fewer than ten distinct prompts is left out.
            strong: The column that `win_rate` prefers.
            weak: The column that it is compared with.

        Raises:
            ConfigError: If the pair is no pair.
            DataError: If the pair is not in the table, or was seen on fewer than ten distinct prompts.
        """
        router = cls._with(ruler, strong, weak)
        features = _features(*ruler.place(outcomes.prompts))
        router._become(ruler, _fitted_curves(features, outcomes, (strong, weak)))
        return router, [_known(features, outcomes, model, router.seed) for model in router.models]

    @classmethod
    def rated(
        cls, ruler: Experts, quality: Mapping[str, float], prompts: Sequence[str], strong: str, weak: str
    ) -> Self:
        """A pool of models of which nothing is known but a number: the mean quality of each on some prompts.

        Every slope is 1, so all models find the same prompts hard; where that is not so, outcomes tell and numbers
        do not.

        Args:
            ruler: Fitted, on other prompts than these.
            quality: Model -> its mean quality on prompts like these, strictly between 0 and 1.
            prompts: n of them, n >= 1.
            strong: The model that `win_rate` prefers.
            weak: The model that it is compared with.

        Raises:
            ConfigError: If the pair is no pair or not among the models, or a number is out of its range.
            DataError: If there are no prompts.
        """
        if not len(check_prompts(prompts)):
            raise DataError("A mean quality needs prompts that it is the mean of, got 0.")
        for model in (strong, weak):
            if model not in quality:
                raise ConfigError(nearest(model, quality, "model"))
        for model, mean in quality.items():
            if not 0 < mean < 1:
                raise ConfigError(
                    f"The mean quality of {model!r} must be between 0 and 1, both excluded, got {mean!r}."
                )
        router = cls._with(ruler, strong, weak)
        features = _features(*ruler.place(prompts))
        levels = np.zeros(features.shape[1] - 2)
        curves = {name: np.array([_ability(features[:, 1], mean), 1, *levels]) for name, mean in quality.items()}
        return router._become(ruler, curves)

    def win_rate(self, prompts: Sequence[str]) -> FloatArray:
        """P(strong preferred to weak | prompt): half of one plus the expected gain, in [0, 1], shape (n,)."""
        return self._win_rate(self.predict(prompts))

    def predict(self, prompts: Sequence[str]) -> FloatArray:
        """Expected quality of each of `models`, in [0, 1], shape (n, m)."""
        self._require("curves_")
        return self._quality(*self.ruler_.place(prompts))

    def scored(self, prompts: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """`win_rate` and `novelty` from one reading of the prompts, each of shape (n,); NaN where it does not tell."""
        self._require("curves_")
        ease, sources = self.ruler_.place(prompts)
        novelty = 1 - sources.sum(axis=1) if self.tells_novelty else np.full(len(prompts), np.nan)
        return self._win_rate(self._quality(ease, sources)), novelty

    @property
    def tells_novelty(self) -> bool:
        """Whether the difficulty was learned from two sources or more."""
        self._require("curves_")
        return self.ruler_.tells_novelty

    def novelty(self, prompts: Sequence[str]) -> FloatArray:
        """How surely each prompt is unlike everything that the difficulty was learned from, in [0, 1], shape (n,).

        Raises:
            DataError: If the difficulty was learned from one source: there was none to leave out.
        """
        self._require("curves_")
        return self.ruler_.novelty(prompts)

    def state(self) -> RouterState:
        """The ruler's state and the curves."""
        self._require("curves_")
        ruler = self.ruler_.state()
        return RouterState({**ruler.arrays, "curves": self.curves_}, {**ruler.meta, "models": list(self.models)})

    def restore(self, state: RouterState) -> Self:
        """Become the router that `state` was taken from.

        Raises:
            CheckpointError: If the tensors do not fit together.
        """
        arrays = dict(state.arrays)
        curves = arrays.pop("curves", np.zeros(0))
        models = tuple(str(model) for model in state.meta["models"])
        ruler = self._ruler().restore(RouterState(arrays, state.meta))
        fits = curves.dtype == np.float64 and curves.shape == (len(models), len(ruler.sources_) + 2)
        if not (fits and {self.strong, self.weak} <= set(models)):
            raise CheckpointError("The curves in the checkpoint do not fit its models and sources. Train again.")
        return self._become(ruler, dict(zip(models, curves, strict=True)))

    def _quality(self, ease: FloatArray, sources: FloatArray) -> FloatArray:
        return sigmoid(_features(ease, sources) @ self.curves_.T)

    def _win_rate(self, quality: FloatArray) -> FloatArray:
        strong, weak = (quality[:, self.models.index(model)] for model in (self.strong, self.weak))
        rate: FloatArray = (1 + strong - weak) / 2
        return rate

    @classmethod
    def _with(cls, ruler: Experts, strong: str, weak: str) -> Self:
        """An unfitted router with the ruler's parameters."""
        check_pair(strong, weak)
        return cls(strong, weak, ruler.embedder, **_settings(ruler))

    def _ruler(self) -> Experts:
        return Experts(self.strong, self.weak, self.embedder, **_settings(self))

    def _become(self, ruler: Experts, curves: Mapping[str, FloatArray]) -> Self:
        self.ruler_, self.models, self.curves_ = ruler, tuple(curves), np.stack(list(curves.values()))
        return self


def _settings(router: ViewRouter) -> dict[str, Any]:
    return {name: getattr(router, name) for name in ("ngrams", "bits", "folds", "seed")}


def _features(ease: FloatArray, sources: FloatArray) -> FloatArray:
    """What a curve is multiplied by, from `Experts.place`, shape (n, c)."""
    return np.column_stack([np.ones(len(ease)), ease, sources])


def _fitted_curves(features: FloatArray, outcomes: Outcomes, pair: tuple[str, str]) -> dict[str, FloatArray]:
    """The curve of each model that was seen often enough, shape (c,), the pair first.

    Raises:
        DataError: If the pair was not seen often enough.
    """
    curves = {}
    for model in (*pair, *(name for name in outcomes.models if name not in pair)):
        rows, seen = _seen(outcomes, model)
        n = len(set(map(prompt_hash, seen.prompts)))
        if n >= _FEWEST_PROMPTS:
            curves[model] = _curve(features[rows], seen.quality[:, 0])
        elif model in pair:
            raise DataError(
                f"{model!r} was observed on {n} distinct prompts; at least {_FEWEST_PROMPTS} are needed, and 100 to "
                "300 to tell on which prompts it is good."
            )
    return curves


def _seen(outcomes: Outcomes, model: str) -> tuple[IndexArray, Outcomes]:
    """The rows in which a model was observed, and the model's own table of them."""
    rows = np.flatnonzero(~np.isnan(outcomes.quality[:, outcomes.column(model)]))
    return rows, outcomes.take(rows).select([model])


def _curve(features: FloatArray, quality: FloatArray) -> FloatArray:
    """The likeliest coefficients of one model: a slope near 1, levels near 0, any ability, shape (c,)."""
    c = features.shape[1]
    start, precision = np.zeros(c), np.ones(c)
    start[1], precision[0] = 1.0, 1e-3
    return fit_logistic(features, quality, np.diag(precision), start=start)


def _known(features: FloatArray, outcomes: Outcomes, model: str, seed: int) -> Ability:
    """How well curves predict prompts that they did not see."""
    rows, table = _seen(outcomes, model)
    x, seen = features[rows], table.quality[:, 0]
    folds = prompt_folds(table.prompts, _FOLDS, seed)
    error = np.zeros(len(rows))
    for fold in range(_FOLDS):
        out, kept = folds == fold, folds != fold
        predicted = sigmoid(x[out] @ _curve(x[kept], seen[kept]))
        error[out] = (seen[kept].mean() - seen[out]) ** 2 - (predicted - seen[out]) ** 2
    columns = np.column_stack([seen, error])
    draws = np.concatenate([counts @ columns for counts in resample_counts(len(rows), _N_BOOT, seed)]) / len(rows)
    observed, skill = (interval(float(columns[:, i].mean()), draws[:, i]) for i in range(2))
    return Ability(model, len(rows), observed, skill)


def _ability(ease: FloatArray, quality: float) -> float:
    """The ability whose mean quality on prompts of these eases, shape (n,), is the one given."""
    low, high = _RANGE
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if sigmoid(ease + middle).mean() < quality else (low, middle)
    return (low + high) / 2
