"""`experts`: one router for each source of a mixture, and a gate that knows where a prompt belongs.

Sources disagree about the gain: where a weak model is nearly as good as a strong one, the hard questions are those to
send up; where it mostly fails, they are those that both fail. They agree about difficulty: what one source finds hard,
the others do too. So every source has an expert of its own, and what is new to all of them is judged by difficulty.

- An expert is what `linear` would be on the source alone: a response to gain and quality.
- A gate says how much a prompt looks like each source, and how surely it is from any (`prefroute.routers._gate`).
- A generalist knows nothing but difficulty: a logistic link on the sum of all sources' predictions of quality, fitted
  on each source as the others see it. It leans on difficulty as far as that proved true of sources never seen.

    win_rate = familiar * sum_s gate_s * expert_s + (1 - familiar) * generalist

Source: mixture of experts (Jacobs et al. 1991, Neural Computation 3, "Adaptive mixtures of local experts"). Differs:
experts and gate are fitted one after the other, since the sources of the training rows are known.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Self

import numpy as np

from prefroute.data import WinExamples, win_examples
from prefroute.errors import CheckpointError, ConfigError, DataError
from prefroute.routers._gate import belonging, fit_gate
from prefroute.routers._response import Quality, Response, fit_quality, fit_response, win_rate
from prefroute.routers._sigmoid import logistic, logistic_link
from prefroute.routers._view_router import ViewRouter
from prefroute.routers._views import TENSORS, Heads, Views, dealt, predict, take, training_views
from prefroute.routers.base import NoveltyRouter, RouterState, check_data, check_prompts, checked_arrays
from prefroute.types import Battles, Embedder, FloatArray, IndexArray, Mixture, Outcomes

__all__ = ["Experts"]

_USUAL = (1.0, 99.0)  # percent: the generalist follows quality no farther than this range of what it was fitted on
_USUAL_WIDTH = 4.65  # of that range in standard deviations, were it a normal distribution
_FARTHEST = 3.0  # standard deviations of ease


class Experts(ViewRouter, NoveltyRouter):
    """An expert for each source, mixed by a gate, with a generalist for what looks like no source.

    Fitted on battles or outcomes that are no mixture, it has one expert and no gate, and is the `linear` router.

    Parameters are those of `ViewRouter`, and `odds`: how many prompts of the sources are expected for each prompt that
    is new to all of them, 0 or more. More doubt costs quality on known sources, less costs it elsewhere. Where every
    prompt will be new, 0 is right: difficulty alone is asked.

    Attributes:
        sources_: Names of the sources, s strings.
        shapes_: Slope, intercept, curvature and centre of each expert's response, shape (s, 4).
        generalist_: Least and greatest quality that it tells apart, slope and intercept, shape (4,); zeros with one
            source.
        gate_: Slope and intercept of `familiar`, shape (2,); zeros with one source.

    Example:
        >>> from prefroute.testing import HashEmbedder, tiny_battles
        >>> from prefroute.types import Mixture, Source
        >>> votes = tiny_battles()
        >>> mixture = Mixture((Source("a", votes, "big", "small"), Source("b", votes, "middle", "small")))
        >>> Experts("big", "small", HashEmbedder()).fit(mixture).gate(["Prove it."]).shape
        (1, 2)
    """

    kind: ClassVar[str] = "experts"

    def __init__(
        self,
        strong: str,
        weak: str,
        embedder: Embedder,
        *,
        ngrams: int = 2,
        bits: int = 16,
        folds: int = 10,
        odds: float = 2.0,
        seed: int = 0,
    ) -> None:
        super().__init__(strong, weak, embedder, ngrams=ngrams, bits=bits, folds=folds, seed=seed)
        self.odds = odds

    def fit(self, data: Battles | Outcomes | Mixture) -> Self:
        """Learn the experts, the generalist and the gate.

        Raises:
            ConfigError: If a parameter is out of its range.
            DataError: If a source does not compare its pair, or every label is the same.
        """
        check_data(self, data)
        self._check_parameters()
        if not (math.isfinite(self.odds) and self.odds >= 0):
            raise ConfigError(f"`odds` must be 0 or more, got {self.odds!r}.")
        examples = win_examples(data, self.strong, self.weak)
        scaling, views = training_views(self.embedder, examples.prompts, self.ngrams, self.bits, self.seed)
        folds = self._inner_folds(examples.prompts)
        qualities, experts = _fit_experts(views, examples, folds)
        self.shapes_ = np.stack([expert.shape for expert in experts])
        coefs = [expert.gain for expert in experts] + [expert.quality for expert in experts]
        self.generalist_, self.gate_ = np.zeros(4), np.zeros(2)
        if len(experts) > 1:
            balance = examples.weight / np.bincount(examples.source)[examples.source]
            balance *= len(balance) / balance.sum()  # a source counts as much as its weight says, however many its rows
            self.generalist_ = _fit_generalist(views, examples, qualities, balance)
            gate = fit_gate(views[0], examples.source, balance, folds, self.odds)
            self.gate_ = gate.link
            coefs += [_sum(qualities), *((text, *_nothing(views)) for text in gate.coefs)]
        self.heads_ = Heads.of(scaling, coefs, self.ngrams)
        self.sources_ = examples.sources
        return self

    def win_rate(self, prompts: Sequence[str]) -> FloatArray:
        """P(strong preferred to weak | prompt), in [0, 1], shape (n,)."""
        return self._rates(self._read(prompts))

    def scored(self, prompts: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """`win_rate` and `novelty` together, each of shape (n,); the second is NaN where the router does not tell."""
        readings = self._read(prompts)
        return self._rates(readings), np.array(
            [1 - prompt.familiar if self.tells_novelty else np.nan for prompt in readings]
        )

    def gate(self, prompts: Sequence[str]) -> FloatArray:
        """How much each prompt looks like each source, columns as in `sources_`, rows of sum 1, shape (n, s)."""
        shares = [prompt.shares for prompt in self._read(prompts)]
        return np.array(shares).reshape(len(shares), len(self.sources_))

    def place(self, prompts: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """How easy each prompt is, and which source it looks like, shapes (n,) and (n, s).

        Ease is the predicted quality of an answer, in standard deviations of the source that the prompt looks like,
        about -3 to 3; of all sources together for a prompt that looks like none. The second array is `gate` times how
        familiar the prompt is: rows of zeros for what looks like no source.
        """
        readings = self._read(prompts)
        shape = (len(readings), len(self.sources_))
        familiar = np.array([prompt.familiar for prompt in readings])
        share = np.array([prompt.shares for prompt in readings]).reshape(shape)
        z = np.array([prompt.zs for prompt in readings]).reshape(shape)
        own = np.clip(z - self.shapes_[:, 3], -_FARTHEST, _FARTHEST)
        low, high = self.generalist_[:2]
        quality = np.clip([prompt.quality for prompt in readings], low, high)
        overall = (quality - (low + high) / 2) / (max(high - low, 1e-9) / _USUAL_WIDTH)
        ease: FloatArray = familiar * (share * own).sum(axis=1) + (1 - familiar) * overall
        return ease, familiar[:, None] * share

    @property
    def tells_novelty(self) -> bool:
        """Whether it was fitted on two sources or more."""
        self._require("gate_")
        return len(self.sources_) > 1

    def novelty(self, prompts: Sequence[str]) -> FloatArray:
        """How surely each prompt is unlike everything that the router was trained on, in [0, 1], shape (n,).

        Near 0, the prompt is scored by the experts of the sources that it looks like; near 1, its score is little
        more than the mean win rate of the sources.

        Raises:
            DataError: If the router was fitted on one source: there was none to leave out.
        """
        if not self.tells_novelty:
            raise DataError(
                "novelty() is learned by leaving out sources in turn, and this router was fitted on one. "
                "Fit it on a Mixture of two or more."
            )
        return np.array([1 - prompt.familiar for prompt in self._read(prompts)])

    def state(self) -> RouterState:
        """Coefficients of all heads, and what joins them."""
        self._require("gate_")
        arrays = {**self.heads_.arrays(), "shapes": self.shapes_, "generalist": self.generalist_, "gate": self.gate_}
        return RouterState(arrays, {"sources": list(self.sources_)})

    def restore(self, state: RouterState) -> Self:
        """Become the router that `state` was taken from.

        Raises:
            CheckpointError: If the tensors do not fit together.
        """
        own = {"shapes": ("float64", 2), "generalist": ("float64", 1), "gate": ("float64", 1)}
        arrays = checked_arrays(state, TENSORS | own)
        sources = tuple(str(name) for name in state.meta["sources"])
        s = len(sources)
        sizes = (arrays["shapes"].shape, arrays["generalist"].shape, arrays["gate"].shape, len(arrays["offset"]))
        if sizes != ((s, 4), (4,), (2,), 3 * s + 1 if s > 1 else 2):
            raise CheckpointError("The experts in the checkpoint do not fit its sources. Train again.")
        self.heads_ = Heads.restore(arrays, self.ngrams)
        self.shapes_, self.generalist_, self.gate_ = arrays["shapes"], arrays["generalist"], arrays["gate"]
        self.sources_ = sources
        return self

    def _read(self, prompts: Sequence[str]) -> list[_Reading]:
        self._require("gate_")
        scores = self.heads_.score(self.embedder, check_prompts(prompts)).tolist()
        s = len(self.sources_)
        if s == 1:
            return [_Reading(row[:1], row[1:], 0.0, 1.0, [1.0]) for row in scores]
        link = self.gate_.tolist()
        return [_Reading(row[:s], row[s : 2 * s], row[2 * s], *belonging(row[2 * s + 1 :], link)) for row in scores]

    def _rates(self, readings: Sequence[_Reading]) -> FloatArray:
        """Win rates, shape (n,); a prompt at a time, which for few sources takes as long as a call of NumPy or two."""
        shapes = self.shapes_.tolist()
        low, high, slope, intercept = self.generalist_.tolist()
        rates = np.empty(len(readings))
        for i, (gains, zs, quality, familiar, shares) in enumerate(readings):
            expert = sum(map(operator.mul, shares, map(win_rate, gains, zs, shapes)))
            generalist = logistic(intercept - slope * min(max(quality, low), high))
            rates[i] = familiar * expert + (1 - familiar) * generalist
        return rates


class _Reading(NamedTuple):
    """What the heads say of a prompt.

    Attributes:
        gains: Gain as each expert sees it, s numbers.
        zs: Standardised quality as each expert sees it, s numbers.
        quality: As the generalist sees it; 0 with one source.
        familiar: How surely the prompt is from one of the sources, in [0, 1]; 1 with one source.
        shares: How much it looks like each, s numbers of sum 1.
    """

    gains: list[float]
    zs: list[float]
    quality: float
    familiar: float
    shares: list[float]


def _fit_experts(views: Views, examples: WinExamples, folds: IndexArray) -> tuple[list[Quality], list[Response]]:
    """For each source, its prediction of quality, and its expert."""
    qualities, experts = [], []
    for source in range(len(examples.sources)):
        part = np.flatnonzero(examples.source == source)
        rows, weight, inner = take(views, part), examples.weight[part], dealt(folds[part])
        qualities.append(fit_quality(rows, examples.quality[part], weight, inner))
        experts.append(fit_response(rows, examples.win[part], qualities[-1], weight, inner))
    return qualities, experts


def _nothing(views: Views) -> tuple[FloatArray, FloatArray]:
    """Coefficients that leave out the embedding and the kernel."""
    return np.zeros(views[1].shape[1]), np.zeros(views[2].shape[1])


def _sum(qualities: Sequence[Quality]) -> tuple[FloatArray, ...]:
    """Their coefficients added up: a head that has found little is small and says little."""
    return tuple(np.sum(coefs, axis=0) for coefs in zip(*(quality.coefs for quality in qualities), strict=True))


def _fit_generalist(
    views: Views, examples: WinExamples, qualities: Sequence[Quality], balance: FloatArray
) -> FloatArray:
    """Range, slope and intercept, on what the other sources' heads say of each source's rows, shape (4,)."""
    said = np.stack([predict(views, quality.coefs) for quality in qualities], axis=1)  # (n, s)
    elsewhere = said.sum(axis=1) - said[np.arange(len(said)), examples.source]
    low, high = np.percentile(elsewhere, _USUAL)
    slope, intercept = logistic_link(-np.clip(elsewhere, low, high), examples.win, balance)
    return np.array([low, high, slope, intercept])
