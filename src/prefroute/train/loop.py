"""The one training loop: batches, optimiser steps, held-out checks, early stopping, and a state that resumes.

The door is `fit_loop`. It knows nothing of routers, prompts or files of data: a caller gives a torch module, an
optimiser, and the loss of chosen rows. Imports torch, so import it where a router is fitted, never at the top of one.

What a step does depends on the seed and the number of the step alone: the batches are drawn from them, and so is
torch's generator before every step. A training that was killed and resumed therefore ends in the same weights, bit by
bit on a CPU.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prefroute.errors import ConfigError, DataError, is_out_of_memory
from prefroute.train.processes import this_process
from prefroute.train.progress import Look, Progress
from prefroute.train.saved import LoopState, read_state, write_state
from prefroute.types import IndexArray

__all__ = ["LoopPlan", "constant", "fit_loop", "warmup_then_linear"]

_NOT_FINITE = "Nothing was saved since the check before. Lower the learning rate, or look for odd values in the data."


@dataclass(frozen=True, slots=True)
class LoopPlan:
    """How long and in what portions.

    Attributes:
        steps: Most optimiser steps.
        batch_size: Rows of a step; every row comes once before any comes again.
        check_every: Steps between two looks at the held-out loss; the state is saved then, too.
        patience: Checks without a better held-out loss after which training ends.
        accumulate: Parts that a batch is split into, for less memory and the same step.
        max_grad_norm: Gradients are scaled down to this length; None leaves them.
        check_start: Whether the weights that training begins with may be the best.
        seed: Draws the batches, and dropout and noise.
    """

    steps: int
    batch_size: int
    check_every: int
    patience: int
    accumulate: int = 1
    max_grad_norm: float | None = None
    check_start: bool = False
    seed: int = 0


def constant(step: int) -> float:
    """The factor of a learning rate that stays."""
    del step
    return 1.0


def warmup_then_linear(steps: int, warmup_share: float = 0.1) -> Callable[[int], float]:
    """The factor of a learning rate that rises for a share of the steps, then falls to zero, both linearly.

    Example:
        >>> [round(warmup_then_linear(20)(step), 2) for step in (0, 1, 2, 11, 20)]
        [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    rise = max(1, round(steps * warmup_share))
    return lambda step: min((step + 1) / rise, (steps - step) / max(1, steps - rise), 1.0)


def fit_loop(  # noqa: PLR0913 - one for each thing that a training is made of
    module: Any,
    optimizer: Any,
    loss: Callable[[IndexArray], Any],
    held_out_loss: Callable[[], float],
    n_rows: int,
    plan: LoopPlan,
    *,
    rate: Callable[[int], float] = constant,
    resume: Path | None = None,
    identity: str = "",
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Train until the held-out loss has stopped falling; the module ends with its best weights.

    Under `torchrun` each process takes its part of every batch; gradients are summed, so the step is that of one.

    Args:
        module: A torch module on its device; its buffers must not change.
        optimizer: Over those parameters.
        loss: Mean loss of the given training rows, a torch scalar; called with the module in training mode.
        held_out_loss: Loss of the held-out rows; called with the module in evaluation mode, without gradients.
        n_rows: Training rows; `loss` gets indices below it.
        plan: How long and in what portions.
        rate: Step, from 0 -> what each learning rate is multiplied by.
        resume: A file with the state after every check, from which training goes on; the caller removes it in the end.
        identity: Names the data and settings; a state of another training is refused.
        progress: Told of every step, and of the losses at each check.

    Returns:
        One mapping for each check: `step`, `train_loss` (since the check before; None at step 0), `held_out_loss`.

    Raises:
        DataError: If a loss is NaN or infinite; the state on disk is that of the last check.
        ConfigError: If memory runs out.
        CheckpointError: If the state cannot be written, or is not that of this training.
    """
    trained = {name: value for name, value in module.named_parameters() if value.requires_grad}
    state = LoopState(trained, optimizer)
    tell: Progress = progress or (lambda done, most, look: None)
    if resume is not None and resume.exists():
        read_state(resume, state, identity)
    with torch.random.fork_rng(), _rates_kept(optimizer) as rates, _memory_watched(state, plan):
        if plan.check_start and not state.history:
            tell(0, plan.steps, _check(module, state, held_out_loss))
        for rows in _batches(n_rows, plan, state.step):
            if state.bad_checks >= plan.patience:
                break
            for group, first in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = first * rate(state.step)
            state.loss_sum += _step(state, module, loss, rows, plan)
            state.step += 1
            state.since_check += 1
            is_due = state.step % plan.check_every == 0 or state.step == plan.steps
            look = _check(module, state, held_out_loss) if is_due else None
            if is_due and resume is not None and this_process()[0] == 0:
                write_state(resume, state, identity)
            tell(state.step, plan.steps, look)
    _become_best(module, state)
    return state.history


def _batches(n_rows: int, plan: LoopPlan, done: int) -> Iterator[IndexArray]:
    """The rows of each step from step `done` on; an epoch's order depends on the seed and its number only."""
    per_epoch = math.ceil(n_rows / plan.batch_size)
    order, drawn = np.arange(0), -1
    for step in range(done, plan.steps):
        epoch, place = divmod(step, per_epoch)
        if epoch != drawn:
            order, drawn = np.random.default_rng([plan.seed, epoch]).permutation(n_rows), epoch
        yield order[place * plan.batch_size : (place + 1) * plan.batch_size]


def _step(state: LoopState, module: Any, loss: Callable[[IndexArray], Any], rows: IndexArray, plan: LoopPlan) -> float:
    """One optimiser step; returns the batch's mean loss."""
    rank, size = this_process()
    _seed(plan.seed, state.step, rank)
    module.train()
    state.optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=_device(state))
    for part in np.array_split(rows[rank::size], plan.accumulate):
        if len(part):
            weighted = loss(part) * (len(part) / len(rows))
            weighted.backward()
            total += weighted.detach()
    if size > 1:
        for tensor in [total, *_gradients(state)]:
            torch.distributed.all_reduce(tensor)
    value = float(total)
    if not math.isfinite(value):
        raise DataError(f"The training loss became {value} at step {state.step + 1}. {_NOT_FINITE}")
    if plan.max_grad_norm is not None:
        torch.nn.utils.clip_grad_norm_(list(state.module.values()), plan.max_grad_norm)
    state.optimizer.step()
    return value


def _check(module: Any, state: LoopState, held_out_loss: Callable[[], float]) -> Look:
    """Take the held-out loss, and remember the weights if it is the best so far."""
    module.eval()
    with torch.no_grad():
        value = float(held_out_loss())
    if this_process()[1] > 1:  # one answer for all, or one process might stop while another goes on
        shared = torch.tensor([value], dtype=torch.float64, device=_device(state))
        torch.distributed.broadcast(shared, 0)
        value = float(shared)
    if not math.isfinite(value):
        raise DataError(f"The held-out loss became {value} at step {state.step}. {_NOT_FINITE}")
    train_loss = state.loss_sum / state.since_check if state.since_check else None
    state.history.append({"step": state.step, "train_loss": train_loss, "held_out_loss": value})
    state.loss_sum, state.since_check = 0.0, 0
    if value < state.best_loss:
        state.best_loss, state.bad_checks = value, 0
        state.best = {name: parameter.detach().clone() for name, parameter in state.module.items()}
    else:
        state.bad_checks += 1
    return Look(train_loss, value, state.best_loss)


def _become_best(module: Any, state: LoopState) -> None:
    with torch.no_grad():
        for name, value in state.best.items():
            state.module[name].copy_(value)
    module.eval()


def _seed(seed: int, step: int, rank: int) -> None:
    """Torch's generators for one step. Not `torch.manual_seed`: without a GPU it formats a stack trace every time."""
    drawn = int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))
    torch.default_generator.manual_seed(drawn)
    if torch.cuda.is_available():
        torch.cuda.manual_seed(drawn)


def _device(state: LoopState) -> Any:
    return next(iter(state.module.values())).device


def _gradients(state: LoopState) -> Iterator[Any]:
    """Every parameter's gradient; zeros where this process's part of the batch gave none."""
    for parameter in state.module.values():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        yield parameter.grad


@contextlib.contextmanager
def _rates_kept(optimizer: Any) -> Iterator[list[float]]:
    """The optimiser's learning rates, which it has again afterwards."""
    rates = [group["lr"] for group in optimizer.param_groups]
    try:
        yield rates
    finally:
        for group, first in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = first


@contextlib.contextmanager
def _memory_watched(state: LoopState, plan: LoopPlan) -> Iterator[None]:
    """Says at which step memory ran out, and what to do."""
    try:
        yield
    except (RuntimeError, MemoryError) as exc:
        if not is_out_of_memory(exc):
            raise
        raise ConfigError(
            f"Memory ran out at step {state.step + 1} with batches of {plan.batch_size}. Use a smaller `batch_size`, "
            "or more parts (`accumulate`) where the router has them."
        ) from exc
