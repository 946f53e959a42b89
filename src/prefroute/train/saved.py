"""The state of a training on disk: one safetensors file, replaced whole after every check. Nothing is unpickled.

Private to the training room; `prefroute.train.loop` writes and reads it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from prefroute.errors import CheckpointError
from prefroute.files import replacing

__all__ = ["LoopState", "read_state", "write_state"]

_NUMBERS = ("step", "bad_checks", "best_loss", "history")


@dataclass(slots=True)
class LoopState:
    """Where a training stands.

    Attributes:
        module: The trained parameters by name, the module's own.
        optimizer: Its optimiser.
        best: The parameters at the best check.
        best_loss: The held-out loss of that check.
        bad_checks: Checks since then.
        step: Optimiser steps done.
        history: What `fit_loop` returns.
        loss_sum: Sum of training losses since the last check; 0 whenever the state is saved.
        since_check: Steps since the last check; likewise.
    """

    module: dict[str, Any]
    optimizer: Any
    best: dict[str, Any] = field(default_factory=dict)
    best_loss: float = math.inf
    bad_checks: int = 0
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    loss_sum: float = 0.0
    since_check: int = 0


def write_state(path: Path, state: LoopState, identity: str) -> None:
    """Replace the file, whole or not at all.

    Raises:
        CheckpointError: If the file cannot be written; the one before is still there.
    """
    tensors = _tensors(state)
    known = {"identity": identity} | {name: getattr(state, name) for name in _NUMBERS}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as beside:
            beside.write_bytes(save(tensors, metadata={"training": json.dumps(known)}))
    except OSError as exc:
        raise CheckpointError(
            f"Could not save the state of the training to {str(path)!r}: {exc.strerror or exc}. The state of the "
            "check before is unchanged; make room and run the same command to go on from there."
        ) from exc


def read_state(path: Path, state: LoopState, identity: str) -> None:
    """Put what the file holds into the state, its module and its optimiser.

    Raises:
        CheckpointError: If the file is not sound, or is the state of another training.
    """
    try:
        with safe_open(path, framework="pt") as file:
            known = json.loads((file.metadata() or {})["training"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        same = known["identity"] == identity
        numbers = {name: known[name] for name in _NUMBERS}
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as exc:
        raise CheckpointError(
            f"{str(path)!r} is not the sound state of a training ({type(exc).__name__}). Remove it to start again."
        ) from exc
    if not same:
        raise CheckpointError(
            f"{str(path)!r} is the state of a training with other data or settings. Finish that one, or remove the "
            "file to start again."
        )
    try:
        _put(state, tensors)
    except (KeyError, RuntimeError, ValueError) as exc:
        raise CheckpointError(f"{str(path)!r} does not fit this training. Remove it to start again.") from exc
    for name, value in numbers.items():
        setattr(state, name, value)


def _tensors(state: LoopState) -> dict[str, Any]:
    """All tensors by name: `module.*`, `best.*` and `optimizer.PARAMETER.KEY`."""
    tensors = {f"module.{name}": value for name, value in state.module.items()}
    tensors |= {f"best.{name}": value for name, value in state.best.items()}
    for number, entry in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{key}": value for key, value in entry.items()}
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def _put(state: LoopState, tensors: Mapping[str, Any]) -> None:
    entries: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        room, _, rest = name.partition(".")
        if room == "module":
            state.module[rest].data.copy_(value)
        elif room == "best":
            state.best[rest] = value.to(state.module[rest].device)
        else:
            number, _, key = rest.partition(".")
            entries.setdefault(int(number), {})[key] = value
    full = state.optimizer.state_dict()
    state.optimizer.load_state_dict({"state": entries, "param_groups": full["param_groups"]})
