"""Where the head of a fine-tuned encoder starts: at the penalised regression of the labels on the encoder as it came.

Source: Kumar et al. 2022, arXiv:2202.10054 (linear probing, then fine-tuning: a random head distorts what it stands on
while it learns). Differs: the penalty is chosen by cross-validation, because preference labels are noisy: on 1,531
gold labels a head without penalty ranks no better than prompt length (docs/log.md). Imports torch.
"""

from __future__ import annotations

import numpy as np
import torch

from prefroute.types import FloatArray, IndexArray

__all__ = ["fit_probe"]

_PENALTIES = (30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4)  # on weights of features whose mean variance is 1
_ITERATIONS = 100


def fit_probe(features: FloatArray, targets: FloatArray, fold: IndexArray) -> tuple[FloatArray, FloatArray]:
    """Weights and bias of a softmax over the labels, with the penalty that has the least cross-validated loss.

    Args:
        features: Shape (n, d).
        targets: Label distributions, each times its row's weight, shape (n, k).
        fold: Of each row, shape (n,).

    Returns:
        Shape (k, d) and (k,): label logits are `features @ weights.T + bias`.
    """
    centre = features.mean(axis=0)  # (d,)
    spread = float(np.sqrt(features.var(axis=0).mean())) or 1.0
    scaled = (features - centre) / spread

    def loss(penalty: float) -> float:
        total = 0.0
        for out in (fold == number for number in np.unique(fold)):
            weights, bias = _fit(scaled[~out], targets[~out], penalty)
            wanted = torch.from_numpy(targets[out])
            logits = torch.from_numpy(scaled[out] @ weights.T + bias)
            total += float(torch.nn.functional.cross_entropy(logits, wanted, reduction="sum"))
        return total

    weights, bias = _fit(scaled, targets, min(_PENALTIES, key=loss))
    return weights / spread, bias - weights @ centre / spread


def _fit(features: FloatArray, targets: FloatArray, penalty: float) -> tuple[FloatArray, FloatArray]:
    """Minimises the summed cross-entropy plus `penalty / 2` times the squared weights; shape (k, d) and (k,)."""
    x, wanted = torch.from_numpy(features), torch.from_numpy(targets)
    weights = torch.zeros(wanted.shape[1], x.shape[1], dtype=x.dtype, requires_grad=True)
    bias = torch.zeros(wanted.shape[1], dtype=x.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        entropy = torch.nn.functional.cross_entropy(x @ weights.T + bias, wanted, reduction="sum")
        value = (entropy + penalty / 2 * weights.square().sum()) / max(1, len(x))
        value.backward()
        return value

    optimizer.step(closure)
    return weights.detach().numpy(), bias.detach().numpy()
