"""`experts`: one linear router for each source of a mixture, and a gate that knows where a prompt belongs.

Sources disagree: what makes an exam question hard for a small model is not what makes a chat message hard, and a
router trained on both at once is worse on each than one trained on it alone. Here every source has an expert of its
own. A gate says how much a prompt looks like each source, and how much it looks like any of them at all; what looks
like none is scored by a generalist that was trained on everything.

    win_rate = familiar * sum_s gate_s * expert_s + (1 - familiar) * generalist

The gate is fitted on which source each training row is from, its temperature on held-out rows. `familiar` is fitted
by leaving each source out in turn: how strongly does the gate answer to rows of a source that it has never seen, and
how strongly to held-out rows of sources that it has?

Source: mixture of experts (Jacobs et al. 1991, Neural Computation 3, "Adaptive mixtures of local experts"). Differs:
experts and gate are fitted one after the other, since the sources of the training rows are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from prefroute.data import win_examples
from prefroute.errors import CheckpointError
from prefroute.routers._ridge import STRENGTHS, ridge_path
from prefroute.routers._sigmoid import sigmoid
from prefroute.routers._view_router import ViewRouter
from prefroute.routers._views import TENSORS, Head, Heads, Views, fit_head, logistic_link, training_views
from prefroute.routers.base import RouterState, check_data, check_prompts, checked_arrays
from prefroute.train.calibration import softmax
from prefroute.types import Battles, FloatArray, IndexArray, Mixture, Outcomes

__all__ = ["Experts"]

_GATE_L2 = (1.0,)  # a gate is not sensitive to it: 98% of held-out rows find their source
_GATE_STEPS = 12
_TEMPERATURES = tuple(2.0**k for k in range(0, 8))


class Experts(ViewRouter):
    """A linear expert for each source, mixed by a gate, with a generalist for what looks like no source.

    Fitted on battles or outcomes that are no mixture, it has one expert and no gate, and is the `linear` router.

    Parameters are those of `ViewRouter`.

    Attributes:
        sources_: Names of the sources, s strings.
        links_: Slope and intercept of each expert's and the generalist's logistic link, shape (s + 1, 2).
        gate_: Temperature of the gate; slope and intercept of `familiar`, shape (3,).

    Example:
        >>> from prefroute.testing import HashEmbedder, tiny_battles
        >>> from prefroute.types import Mixture, Source
        >>> votes = tiny_battles()
        >>> mixture = Mixture((Source("a", votes, "big", "small"), Source("b", votes, "middle", "small")))
        >>> Experts("big", "small", HashEmbedder()).fit(mixture).gate(["Prove it."])[0].shape
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
        scaling, views = training_views(self.embedder, examples.prompts, self.ngrams, self.bits)
        folds = self._inner_folds(examples.prompts)
        win, weight, source = examples.win, examples.weight, examples.source
        everything = np.arange(len(win))
        parts = [np.flatnonzero(source == s) for s in range(len(examples.sources))]
        rows = [*parts, everything] if len(parts) > 1 else [everything]
        regressions = [_regression(views, win, weight, folds, part) for part in rows]
        self.links_ = np.array(
            [
                logistic_link(head.held_out, win[part], weight[part])
                for head, part in zip(regressions, rows, strict=True)
            ]
        )
        coefs = [head.coefs for head in regressions]
        self.gate_ = np.zeros(3)
        if len(parts) > 1:
            coefs += [_membership(views, (source == s).astype(np.float64)) for s in range(len(parts))]
            self.gate_ = _fit_gate(views, source, folds)
        self.heads_ = Heads.of(scaling, coefs, self.ngrams)
        self.sources_ = examples.sources
        return self

    def win_rate(self, prompts: Sequence[str]) -> FloatArray:
        """P(strong preferred to weak | prompt), in [0, 1], shape (n,)."""
        self._require("gate_")
        scores = self.heads_.score(self.embedder, check_prompts(prompts))
        n = len(self.links_)
        rates = sigmoid(scores[:, :n] * self.links_[:, 0] + self.links_[:, 1])  # (n, s + 1)
        if n == 1:
            return rates[:, 0]
        share, familiar = self._mix(scores[:, n:])
        rate: FloatArray = familiar * np.einsum("ns,ns->n", share, rates[:, :-1]) + (1 - familiar) * rates[:, -1]
        return rate

    def gate(self, prompts: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """How much each prompt looks like each source, rows of sum 1, shape (n, s); and like any of them, shape (n,).

        The second is in [0, 1]: near 0, a prompt is unlike everything that the router was trained on.
        """
        self._require("gate_")
        scores = self.heads_.score(self.embedder, check_prompts(prompts))
        if len(self.links_) == 1:
            return np.ones((len(prompts), 1)), np.ones(len(prompts))
        return self._mix(scores[:, len(self.links_) :])

    def state(self) -> RouterState:
        """Scaling, coefficients of experts, generalist and gate, and their links."""
        self._require("gate_")
        arrays = {**self.heads_.arrays(), "links": self.links_, "gate": self.gate_}
        return RouterState(arrays, {"sources": list(self.sources_)})

    def restore(self, state: RouterState) -> Self:
        """Become the router that `state` was taken from.

        Raises:
            CheckpointError: If the tensors do not fit together.
        """
        arrays = checked_arrays(state, TENSORS | {"links": ("float64", 2), "gate": ("float64", 1)})
        sources = tuple(str(name) for name in state.meta["sources"])
        experts = len(sources) + 1 if len(sources) > 1 else 1
        heads = experts + (len(sources) if len(sources) > 1 else 0)
        if len(arrays["links"]) != experts or arrays["text_coef"].shape[1] != heads:
            raise CheckpointError("The experts in the checkpoint do not fit its sources. Train again.")
        self.heads_ = Heads.restore(arrays, self.ngrams)
        self.links_, self.gate_, self.sources_ = arrays["links"], arrays["gate"], sources
        return self

    def _mix(self, answers: FloatArray) -> tuple[FloatArray, FloatArray]:
        temperature, slope, intercept = self.gate_
        return softmax(temperature * answers), sigmoid(slope * answers.max(axis=1, initial=-1.0) + intercept)


def _regression(views: Views, win: FloatArray, weight: FloatArray, folds: IndexArray, rows: IndexArray) -> Head:
    """The head that predicts how far the win of these rows is from their mean."""
    target = win[rows] - np.average(win[rows], weights=weight[rows])
    return fit_head(_take(views, rows), target, weight[rows], _dealt(folds[rows]), STRENGTHS)


def _membership(views: Views, member: FloatArray) -> tuple[FloatArray, ...]:
    """Coefficients of the answer "is it from this source?", 1 or 0; the text view explains what the embedding leaves.

    Without an intercept: text that shares nothing with the training rows is answered by 0, whatever the source's size.
    """
    ones = np.ones(len(member))
    embedding = ridge_path(views[1], member, ones, _GATE_L2)[0]
    text = ridge_path(views[0], member - views[1] @ embedding, ones, _GATE_L2, _GATE_STEPS)[0]
    return text, embedding, np.zeros(views[2].shape[1])


def _answers(views: Views, coefs: Sequence[tuple[FloatArray, ...]]) -> FloatArray:
    """What each gate answers on each row, shape (n, gates)."""
    return np.stack([views[0] @ text + views[1] @ embedding for text, embedding, _ in coefs], axis=1)


def _fit_gate(views: Views, source: IndexArray, folds: IndexArray) -> FloatArray:
    """Temperature of the gate, slope and intercept of `familiar`, shape (3,); every source counts the same."""
    names = np.unique(source)
    member = (source[:, None] == names).astype(np.float64)  # (n, s)
    held_out = np.zeros_like(member)
    for fold in np.unique(folds):
        out, kept = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        coefs = [_membership(_take(views, kept), member[kept, s]) for s in names]
        held_out[out] = _answers(_take(views, out), coefs)
    balance = 1 / member.sum(axis=0)[source]
    own = np.arange(len(source)), source
    losses = [-balance @ np.log(softmax(t * held_out)[own] + 1e-12) for t in _TEMPERATURES]
    temperature = _TEMPERATURES[int(np.argmin(losses))]

    strange = np.empty(len(source))  # the strongest answer of gates that never saw the row's source
    for left_out in names:
        kept, out = np.flatnonzero(source != left_out), np.flatnonzero(source == left_out)
        coefs = [_membership(_take(views, kept), member[kept, s]) for s in names if s != left_out]
        strange[out] = _answers(_take(views, out), coefs).max(axis=1)
    strongest = np.concatenate([held_out.max(axis=1), strange])
    is_familiar = np.repeat([1.0, 0.0], len(source))
    slope, intercept = logistic_link(strongest, is_familiar, np.tile(balance * len(source) / len(names), 2))
    return np.array([temperature, slope, intercept])


def _take(views: Views, rows: IndexArray) -> Views:
    return views[0][rows], views[1][rows], views[2][rows]


def _dealt(folds: IndexArray) -> IndexArray:
    """The folds, or two by turns where a small source lies in one."""
    return folds if len(np.unique(folds)) > 1 else np.arange(len(folds)) % 2
