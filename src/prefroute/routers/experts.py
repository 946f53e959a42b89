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

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from prefroute.data import WinExamples, win_examples
from prefroute.errors import CheckpointError, DataError
from prefroute.routers._gate import familiarity, fit_gate, shares
from prefroute.routers._response import Quality, Response, fit_quality, fit_response, win_rate
from prefroute.routers._sigmoid import logistic_link, sigmoid
from prefroute.routers._view_router import ViewRouter
from prefroute.routers._views import TENSORS, Heads, Views, dealt, predict, take, training_views
from prefroute.routers.base import NoveltyRouter, RouterState, check_data, check_prompts, checked_arrays
from prefroute.types import Battles, FloatArray, IndexArray, Mixture, Outcomes

__all__ = ["Experts"]

_USUAL = (1.0, 99.0)  # percent: the generalist follows quality no farther than this range of what it was fitted on
_USUAL_WIDTH = 4.65  # of that range in standard deviations, were it a normal distribution
_FARTHEST = 3.0  # standard deviations of ease


class Experts(ViewRouter, NoveltyRouter):
    """An expert for each source, mixed by a gate, with a generalist for what looks like no source.

    Fitted on battles or outcomes that are no mixture, it has one expert and no gate, and is the `linear` router.

    Parameters are those of `ViewRouter`.

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

    def fit(self, data: Battles | Outcomes | Mixture) -> Self:
        """Learn the experts, the generalist and the gate.

        Raises:
            ConfigError: If a parameter is out of its range.
            DataError: If a source does not compare its pair, or every label is the same.
        """
        check_data(self, data)
        self._check_parameters()
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
            gate = fit_gate(views[0], examples.source, balance, folds)
            self.gate_ = gate.link
            coefs += [_sum(qualities), *((text, *_nothing(views)) for text in gate.coefs)]
        self.heads_ = Heads.of(scaling, coefs, self.ngrams)
        self.sources_ = examples.sources
        return self

    def win_rate(self, prompts: Sequence[str]) -> FloatArray:
        """P(strong preferred to weak | prompt), in [0, 1], shape (n,)."""
        gain, z, quality, answers = self._scores(prompts)
        rates = win_rate(gain, z, self.shapes_)  # (n, s)
        if rates.shape[1] == 1:
            return rates[:, 0]
        low, high, slope, intercept = self.generalist_
        generalist = sigmoid(intercept - slope * np.minimum(np.maximum(quality[:, 0], low), high))
        expert = (shares(answers) * rates).sum(axis=1)
        familiar = familiarity(answers, self.gate_)
        rate: FloatArray = familiar * expert + (1 - familiar) * generalist
        return rate

    def gate(self, prompts: Sequence[str]) -> FloatArray:
        """How much each prompt looks like each source, columns as in `sources_`, rows of sum 1, shape (n, s)."""
        answers = self._scores(prompts)[-1]
        return shares(answers) if answers.shape[1] else np.ones((len(prompts), 1))

    def place(self, prompts: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """How easy each prompt is, and which source it looks like, shapes (n,) and (n, s).

        Ease is the predicted quality of an answer, in standard deviations of the source that the prompt looks like,
        about -3 to 3; of all sources together for a prompt that looks like none. The second array is `gate` times how
        familiar the prompt is: rows of zeros for what looks like no source.
        """
        _, z, quality, answers = self._scores(prompts)
        own = np.clip(z - self.shapes_[:, 3], -_FARTHEST, _FARTHEST)  # (n, s)
        if own.shape[1] == 1:
            return own[:, 0], np.ones(own.shape)
        low, high = self.generalist_[:2]
        overall = (np.clip(quality[:, 0], low, high) - (low + high) / 2) / (max(high - low, 1e-9) / _USUAL_WIDTH)
        familiar, share = familiarity(answers, self.gate_), shares(answers)
        ease: FloatArray = familiar * np.einsum("ns,ns->n", share, own) + (1 - familiar) * overall
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
        answers = self._scores(prompts)[-1]
        if not self.tells_novelty:
            raise DataError(
                "novelty() is learned by leaving out sources in turn, and this router was fitted on one. "
                "Fit it on a Mixture of two or more."
            )
        return 1 - familiarity(answers, self.gate_)

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

    def _scores(self, prompts: Sequence[str]) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Gain (n, s), standardised quality (n, s), quality to the generalist (n, 1), the gate's answers (n, s).

        The last two have no columns where there is one source.
        """
        self._require("gate_")
        scores = self.heads_.score(self.embedder, check_prompts(prompts))
        s = len(self.sources_)
        return scores[:, :s], scores[:, s : 2 * s], scores[:, 2 * s : 2 * s + 1], scores[:, 2 * s + 1 :]


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
