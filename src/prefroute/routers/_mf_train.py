"""Matrix factorization as a torch module and its training. Imports torch: import it inside `fit` only."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from prefroute.routers._mf_data import Comparisons
from prefroute.routers._mf_factors import Factors
from prefroute.train.loop import LoopPlan, fit_loop
from prefroute.train.progress import Progress
from prefroute.types import FloatArray, IndexArray

__all__ = ["Recipe", "train_factors"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """The numbers of one training; see `prefroute.routers.mf.MF` for what they mean."""

    dim: int
    lr: float
    weight_decay: float
    noise: float
    plan: LoopPlan


class _Network(torch.nn.Module):  # type: ignore[misc]
    """delta(first, q) - delta(second, q) of comparisons."""

    def __init__(self, n_models: int, d: int, dim: int) -> None:
        super().__init__()
        self.models = torch.nn.Parameter(torch.randn(n_models, dim) / dim**0.5)  # rows of length about one
        self.project = torch.nn.Linear(d, dim)
        self.weight = torch.nn.Parameter(torch.empty(dim).uniform_(-1, 1) / dim**0.5)

    def forward(self, vectors: Any, first: Any, second: Any) -> Any:
        """Logits, (k, d) and (k,) twice -> (k,)."""
        return ((self.models[first] - self.models[second]) * self.project(vectors)) @ self.weight


def train_factors(
    vectors: npt.NDArray[np.float32],
    table: Comparisons,
    learned: IndexArray,
    held_out: IndexArray,
    recipe: Recipe,
    *,
    resume: Path | None,
    identity: str,
    progress: Progress | None,
) -> tuple[Factors, list[dict[str, Any]]]:
    """The factors with the smallest held-out loss, and the losses on the way.

    Args:
        vectors: Of the table's distinct prompts, each of length one, shape (n, d).
        table: Comparisons.
        learned: Rows of the table to learn from.
        held_out: Rows that say when to stop.
        recipe: The numbers of the training.
        resume: See `prefroute.train.loop.fit_loop`.
        identity: Likewise.
        progress: Likewise.
    """
    centre = vectors.mean(axis=0)
    space = torch.from_numpy(vectors - centre)
    row, first, second = (torch.from_numpy(column) for column in (table.row, table.first, table.second))
    outcome, weight = (torch.from_numpy(column.astype(np.float32)) for column in (table.outcome, table.weight))
    loss_of = torch.nn.functional.binary_cross_entropy_with_logits
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(recipe.plan.seed)
        network = _Network(len(table.models), vectors.shape[1], recipe.dim)

    def loss(rows: IndexArray) -> Any:
        chosen = torch.from_numpy(learned[rows])
        noisy = space[row[chosen]]
        noisy = noisy + recipe.noise * torch.randn_like(noisy)
        return loss_of(network(noisy, first[chosen], second[chosen]), outcome[chosen], weight[chosen])

    kept = torch.from_numpy(held_out)

    def held_out_loss() -> float:
        loss = loss_of(network(space[row[kept]], first[kept], second[kept]), outcome[kept], weight[kept])
        return float(loss / weight[kept].mean())

    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    with _one_thread():
        history = fit_loop(
            network,
            optimizer,
            loss,
            held_out_loss,
            len(learned),
            recipe.plan,
            resume=resume,
            identity=identity,
            progress=progress,
        )
    return _factors(network, centre), history


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for torch: steps this small only lose by sharing, and sums then have one order on every machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _factors(network: Any, centre: npt.NDArray[np.float32]) -> Factors:
    """The weights as NumPy arrays; the vectors' centre moves into the bias, so that scoring need not know it."""
    project = network.project.weight.detach().numpy().astype(np.float64)  # (dim, d)
    bias: FloatArray = network.project.bias.detach().numpy().astype(np.float64) - project @ centre
    models = network.models.detach().numpy().astype(np.float64)
    weight = network.weight.detach().numpy().astype(np.float64)
    return Factors(models=models, project=project.T.copy(), bias=bias, weight=weight)
