"""`mf`: matrix factorization of prompts and models, trained with torch (extra `train`), scored in plain NumPy.

`delta(M, q) = w2 . (v_M * (W1^T v_q + b))` says how well model M does on prompt q, up to what all models have in
common there; `P(a preferred to b | q) = sigmoid(delta(a, q) - delta(b, q))`.

Source: Ong et al. 2024, arXiv:2406.18665, sec. 4.2 and appendix (Adam, learning rate 3e-4, weight decay 1e-5, batches
of 64, about 10 epochs, Gaussian noise of 0.1 on the prompt's vector). Differs: a tie counts half a win (there ties are
dropped; `ties="drop"` does that); outcomes are learned from as well as battles; a small table is gone through more
often than 10 times; training stops early on a held-out split, which also gives a temperature, and is then repeated on
all rows for as many rounds; model vectors are not scaled to length one; surface counts stand beside the embedding.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from prefroute.errors import CheckpointError, ConfigError, DataError, MissingExtraError, nearest
from prefroute.routers._mf_adding import AddedModel, Evidence, evidence_folds, fit_added
from prefroute.routers._mf_data import Comparisons, comparisons, held_out_pair, held_out_rows
from prefroute.routers._mf_factors import Factors, Link, fit_link, pool_win_rates
from prefroute.routers._mf_prompts import PromptView
from prefroute.routers._mf_routellm import ROUTELLM_MODELS, read_routellm
from prefroute.routers._sigmoid import sigmoid
from prefroute.routers.base import (
    PoolRouter,
    RouterState,
    SteppedRouter,
    check_data,
    check_pair,
    checked_arrays,
)
from prefroute.train.calibration import fit_temperature
from prefroute.train.progress import Progress, on_all_rows
from prefroute.train.report import Calibration, TrainingReport
from prefroute.types import Battles, Embedder, FloatArray, IndexArray, Mixture, Outcomes

__all__ = ["MF", "AddedModel"]

_ARRAYS = {
    "models": ("float64", 2),
    "project": ("float64", 2),
    "bias": ("float64", 1),
    "weight": ("float64", 1),
    "link": ("float64", 1),
    "surface": ("float64", 2),
}
_TIES = ("half", "drop")
_CHECKS = 50  # looks at the held-out loss, at most
_PATIENCE = 8  # checks


class MF(PoolRouter, SteppedRouter):
    """Matrix factorization over any number of models, or tiers of models.

    Fitted on battles or outcomes of the whole pool, `win_rate` scores the pair (strong, weak), and `predict` every
    model: on outcomes the expected quality, by a logistic link fitted on the training outcomes; on battles, which
    tell who won but not how good an answer was, the expected win rate against the rest of the pool.

    Args:
        strong: Name of the strong model.
        weak: Name of the weak model.
        embedder: Turns prompts into vectors, which are scaled to length one.
        dim: Width of the factors.
        ties: "half" (a tie is half a win each) or "drop" (ties are left out, as the paper does).
        epochs: Most times that the comparisons are gone through, where that is at least `min_steps` steps.
        min_steps: Most optimiser steps on a small table, which is gone through more often than `epochs` times.
        batch_size: Comparisons of a step.
        lr: Learning rate of Adam.
        weight_decay: Of Adam.
        noise: Standard deviation of the Gaussian noise on each number of a prompt's vector, in training.
        pairs_per_prompt: Most pairs of models of a row of outcomes, drawn by the seed.
        held_out_share: Share of the distinct prompts that says when to stop.
        surface: Whether surface counts of the prompt (length, digits, line breaks ...) stand beside its embedding.
        unit_vectors: Whether prompts' vectors are scaled to length one; an imported router takes them as they come.
        seed: Draws the pairs, the split, the first weights, the batches and the noise.

    Attributes:
        models: Every model that met another in the data.
        training_: Report of the training (`prefroute.train.report`); None on a router that was loaded.

    The defaults are the paper's, but for `min_steps` (set so that training on 1,531 questions ends by the held-out loss
    and not by the count), `surface`, and the second training on all rows. These were looked at on the train half of
    MMLU only (`prefroute.prompts.is_train_half`): trained on 1,531 of its questions, scored on the rest of that half.

    Example:
        >>> from prefroute.testing import HashEmbedder, tiny_outcomes
        >>> router = MF("big", "small", HashEmbedder(), min_steps=50).fit(tiny_outcomes())
        >>> router.models, router.predict(["Prove it."]).shape
        (('big', 'middle', 'small'), (1, 3))
    """

    kind: ClassVar[str] = "mf"
    uses_embedder: ClassVar[bool] = True
    learns_from = (Battles, Outcomes, Mixture)

    def __init__(  # noqa: PLR0913 - one for each setting of the recipe
        self,
        strong: str,
        weak: str,
        embedder: Embedder,
        *,
        dim: int = 128,
        ties: str = "half",
        epochs: int = 10,
        min_steps: int = 4000,
        batch_size: int = 64,
        lr: float = 3e-4,
        weight_decay: float = 1e-5,
        noise: float = 0.1,
        pairs_per_prompt: int = 8,
        held_out_share: float = 0.1,
        surface: bool = True,
        unit_vectors: bool = True,
        seed: int = 0,
    ) -> None:
        self.strong = strong
        self.weak = weak
        self.embedder = embedder
        self.dim = dim
        self.ties = ties
        self.epochs = epochs
        self.min_steps = min_steps
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.noise = noise
        self.pairs_per_prompt = pairs_per_prompt
        self.held_out_share = held_out_share
        self.surface = surface
        self.unit_vectors = unit_vectors
        self.seed = seed

    def fit(
        self,
        data: Battles | Outcomes | Mixture,
        *,
        resume: Path | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Learn every model's vector; a fit that fails leaves the router as it was.

        Args:
            data: Battles or outcomes of two or more models, `strong` and `weak` among them; or a mixture, whose rows
                become weighted battles of `strong` against `weak`, whatever its sources call them.
            resume: A file for the state of the training; where it exists, the training goes on from there.
            progress: Told of every step of both trainings, and of the losses where they are taken.

        Raises:
            ConfigError: If a parameter is out of its range.
            DataError: If `strong` or `weak` met no other model, every label is the same, there are not two distinct
                prompts, or the loss is not a number.
            CheckpointError: If `resume` is the state of another training, or cannot be written.
            MissingExtraError: If torch is not installed.
        """
        check_data(self, data)
        self._check_parameters()
        table = comparisons(
            data, self.strong, self.weak, ties=self.ties, pairs_per_prompt=self.pairs_per_prompt, seed=self.seed
        )
        learned, held_out = held_out_rows(table, self.held_out_share, self.seed)
        view = PromptView.of(table.prompts, counts=self.surface, unit=self.unit_vectors)
        vectors = view.vectors(self.embedder, table.prompts)
        steps = max(self.min_steps, self.epochs * math.ceil(len(learned) / self.batch_size))
        halfway, history = self._train(table, vectors, learned, held_out, steps, resume, progress)
        tested = halfway.compare(vectors, *(column[held_out] for column in (table.row, table.first, table.second)))
        observed = table.outcome[held_out]
        temperature = fit_temperature(
            np.column_stack([tested, np.zeros_like(tested)]),
            np.column_stack([observed, 1 - observed]),
            table.weight[held_out],
        )
        best = min(history, key=lambda entry: entry["held_out_loss"])["step"]
        everything = np.arange(len(table.row))
        final = round(best * len(everything) / len(learned))  # as many rounds as were best, now through all rows
        factors, _ = self._train(table, vectors, everything, held_out, final, None, on_all_rows(progress))
        factors = replace(factors, weight=factors.weight / temperature)
        link = self._fit_link(data, table, factors, vectors) if isinstance(data, Outcomes) else None
        self.models, self.view_, self.factors_, self.link_ = table.models, view, factors, link
        self.held_out_ = held_out_pair(table, held_out, sigmoid(tested / temperature), self.strong, self.weak)
        self.training_ = TrainingReport(
            kind=self.kind,
            params=self.params(),
            n_train=len(learned),
            n_held_out=len(held_out),
            history=history,
            calibration=Calibration.of(sigmoid(tested), sigmoid(tested / temperature), observed, temperature),
        )
        return self

    def win_rate(self, prompts: Sequence[str]) -> FloatArray:
        """P(strong preferred to weak | prompt), in [0, 1], shape (n,)."""
        self._require("factors_")
        pair = self.models.index(self.strong), self.models.index(self.weak)
        return sigmoid(self.factors_.difference(self._vectors(prompts), *pair))

    def predict(self, prompts: Sequence[str]) -> FloatArray:
        """Expected quality of each of `models`, or win rate against the rest of them, in [0, 1], shape (n, m)."""
        self._require("factors_")
        features = self.factors_.features(self._vectors(prompts))
        deltas = features @ self.factors_.models.T
        if self.link_ is not None:
            return sigmoid(self.link_.slope * deltas + self.link_.common(features)[:, None])
        return pool_win_rates(deltas)

    def add_model(self, name: str, outcomes: Outcomes) -> AddedModel:
        """A router that knows one model more; only that model's vector is fitted, nothing else changes.

        The vector is the most likely one given the model's observed quality (by the link; on a router that was fitted
        on battles, given its wins against the pool's models on the same prompts), with a Gaussian prior around the
        pool's own vectors. 100 to 300 prompts are enough to tell on which prompts it does better than its mean, where
        there is such a thing; `AddedModel.skill` says whether there is.

        Args:
            name: Column of the new model in `outcomes`.
            outcomes: Its quality on some prompts. A router that was fitted on battles needs models of its pool beside
                it.

        Raises:
            NotFittedError: Before `fit` or `restore`.
            DataError: If the name is in the pool already or not in the table, or too little was observed.
        """
        self._require("factors_")
        if name in self.models:
            raise DataError(f"{name!r} is in the pool already. Choose another name, or fit the router again.")
        rows = np.flatnonzero(~np.isnan(outcomes.quality[:, outcomes.column(name)]))
        observed = outcomes.take(rows)
        known = [model for model in self.models if model in observed.models]
        pool = np.full((len(rows), len(self.models)), np.nan)
        pool[:, [self.models.index(model) for model in known]] = observed.select(known).quality
        evidence = Evidence(
            features=self.factors_.features(self._vectors(observed.prompts)),
            quality=observed.quality[:, observed.column(name)],
            pool_quality=pool,
            folds=evidence_folds(observed.prompts, name, self.seed),
        )
        found = fit_added(self.factors_, self.link_, evidence, self.seed)
        state = self.state()
        grown = {**state.arrays, "models": np.vstack([self.factors_.models, found.vector])}
        router = type(self)(self.strong, self.weak, self.embedder, **self._settings())
        router.restore(RouterState(grown, {"models": [*self.models, name]}))
        return AddedModel(router, name, len(rows), found.measure, found.observed, found.predicted, found.skill)

    @classmethod
    def from_routellm(
        cls,
        path: str | Path,
        embedder: Embedder,
        strong: str = "gpt-4-1106-preview",
        weak: str = "mixtral-8x7b-instruct-v0.1",
    ) -> MF:
        """RouteLLM's published matrix factorization, scoring as it does there given the same vectors.

        Args:
            path: Its `model.safetensors`.
            embedder: What it was trained on, OpenAI's text-embedding-3-small; vectors are taken as they come.
            strong: One of its 64 models.
            weak: Another of them.

        Raises:
            CheckpointError: If the file is of another format or content, or the embedder has another dimension.
            ConfigError: If `strong` and `weak` are one name.
            DataError: If a model is not among the 64.
        """
        check_pair(strong, weak)
        for model in (strong, weak):
            if model not in ROUTELLM_MODELS:
                raise DataError(nearest(model, ROUTELLM_MODELS, "model"))
        factors = read_routellm(Path(path))
        d, r = factors.project.shape
        if d != embedder.dim:
            raise CheckpointError(
                f"{str(path)!r} was trained on vectors of {d} dimensions, embedder {embedder.id!r} gives "
                f"{embedder.dim}. Give the embedder that it was trained on."
            )
        router = cls(strong, weak, embedder, dim=r, ties="drop", surface=False, unit_vectors=False)
        router.view_ = PromptView.of((), counts=False, unit=False)
        router.models, router.factors_, router.link_ = ROUTELLM_MODELS, factors, None
        router.training_ = router.held_out_ = None
        return router

    def state(self) -> RouterState:
        """Factors and link, in float64; see `Router.state`."""
        self._require("factors_")
        link = np.zeros(0) if self.link_ is None else self.link_.to_array()
        factors = self.factors_
        arrays: dict[str, npt.NDArray[Any]] = {
            "models": factors.models,
            "project": factors.project,
            "bias": factors.bias,
            "weight": factors.weight,
            "link": link,
            "surface": self.view_.scaling,
        }
        return RouterState(arrays, {"models": list(self.models)})

    def restore(self, state: RouterState) -> Self:
        """See `Router.restore`.

        Raises:
            CheckpointError: If the tensors do not fit together.
        """
        arrays = checked_arrays(state, _ARRAYS)
        models = tuple(str(model) for model in state.meta["models"])
        link, view = arrays.pop("link"), PromptView(arrays.pop("surface"), self.unit_vectors)
        m, r = arrays["models"].shape
        fits = arrays["project"].shape[1] == r and arrays["bias"].shape == arrays["weight"].shape == (r,)
        fits = fits and len(link) in (0, r + 2) and m == len(set(models)) and {self.strong, self.weak} <= set(models)
        fits = fits and view.scaling.shape[0] == (2 if self.surface else 0)
        if not (fits and arrays["project"].shape[0] == view.width(self.embedder)):
            raise CheckpointError("The factors in the checkpoint do not fit together. Train again.")
        self.models, self.view_, self.factors_ = models, view, Factors(**arrays)
        self.link_ = Link.from_array(link) if len(link) else None
        self.training_ = self.held_out_ = None
        return self

    def _settings(self) -> dict[str, Any]:
        return {name: value for name, value in self.params().items() if name not in ("strong", "weak")}

    def _vectors(self, prompts: Sequence[str]) -> npt.NDArray[np.float32]:
        return self.view_.vectors(self.embedder, prompts)

    def _train(
        self,
        table: Comparisons,
        vectors: npt.NDArray[np.float32],
        learned: IndexArray,
        held_out: IndexArray,
        steps: int,
        resume: Path | None,
        progress: Progress | None,
    ) -> tuple[Factors, list[dict[str, Any]]]:
        try:
            import torch  # noqa: F401 - to say at once that it is missing
        except ImportError as exc:
            raise MissingExtraError("Training the router `mf`", "train") from exc
        from prefroute.routers._mf_train import Recipe, train_factors
        from prefroute.train.loop import LoopPlan

        plan = LoopPlan(
            steps=steps,
            batch_size=self.batch_size,
            check_every=max(1, steps // _CHECKS),
            patience=_PATIENCE,
            seed=self.seed,
        )
        recipe = Recipe(self.dim, self.lr, self.weight_decay, self.noise, plan)
        identity = self._identity(table, vectors) if resume is not None else ""
        return train_factors(
            vectors, table, learned, held_out, recipe, resume=resume, identity=identity, progress=progress
        )

    def _identity(self, table: Comparisons, vectors: npt.NDArray[np.float32]) -> str:
        """Names the settings and the data of a training."""
        digest = hashlib.sha256(json.dumps([self.params(), self.embedder.id, table.models], sort_keys=True).encode())
        for column in (vectors, table.row, table.first, table.second, table.outcome, table.weight):
            digest.update(np.ascontiguousarray(column).data)
        return digest.hexdigest()

    def _fit_link(self, data: Outcomes, table: Comparisons, factors: Factors, vectors: npt.NDArray[np.float32]) -> Link:
        position = {prompt: i for i, prompt in enumerate(table.prompts)}
        rows = [i for i, prompt in enumerate(data.prompts) if prompt in position]
        features = factors.features(vectors)[[position[data.prompts[i]] for i in rows]]
        return fit_link(factors, features, data.select(table.models).quality[rows], self.seed)

    def _check_parameters(self) -> None:
        most = {"dim": 2**16, "epochs": 2**20, "min_steps": 2**30, "batch_size": 2**30, "pairs_per_prompt": 2**20}
        for name, highest in most.items():
            value = getattr(self, name)
            if not (isinstance(value, int) and 1 <= value <= highest):
                raise ConfigError(f"`{name}` must be a whole number from 1 to {highest:,}, got {value!r}.")
        for name, limit in (("lr", 1.0), ("weight_decay", 1.0), ("noise", 10.0)):
            value = getattr(self, name)
            if not 0 <= value < limit:
                raise ConfigError(f"`{name}` must be 0 or more and below {limit:g}, got {value!r}.")
        if not 0 < self.held_out_share <= 0.5:
            raise ConfigError(f"`held_out_share` must be above 0 and at most 0.5, got {self.held_out_share!r}.")
        if self.ties not in _TIES:
            raise ConfigError(f"`ties` must be half or drop, got {self.ties!r}.")
