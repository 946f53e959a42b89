"""Writing checkpoints: into a new folder beside the wanted one, which then takes its place."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save as safetensors_bytes

from prefroute.checkpoint.card import model_card
from prefroute.checkpoint.manifest import (
    CARD,
    FORMAT,
    MANIFEST,
    POLICY,
    TRAINING,
    WEIGHTS,
    Arrays,
    canonical,
    fingerprint,
    read_json,
    seal,
    sha256_of,
    tensor_table,
)
from prefroute.data import PromptKeys
from prefroute.errors import CheckpointError
from prefroute.files import replacing
from prefroute.policy import Policy
from prefroute.routers import Router, RouterState

__all__ = ["save_checkpoint", "save_policy"]

_OURS = frozenset({CARD, MANIFEST, POLICY, TRAINING, WEIGHTS})


def save_checkpoint(
    router: Router,
    folder: str | Path,
    *,
    training: PromptKeys | None = None,
    training_data: Sequence[Mapping[str, Any]] = (),
    metrics: Mapping[str, Any] | None = None,
    policy: Policy | None = None,
    notes: str = "",
    licence: str = "",
) -> str:
    """Save a fitted router, whole or not at all; returns its fingerprint.

    A checkpoint that is already in the folder is replaced; what else lies beside its files stays.

    Args:
        router: A fitted router.
        folder: Where to; made where it does not exist.
        training: Hashes of the prompts that it learned from, so that evaluation can find them in a benchmark.
        training_data: One mapping for each source: its `name` (no path), `sha256` and `rows`.
        metrics: What is known of its quality, JSON values.
        policy: The policy that was calibrated for it.
        notes: A paragraph for the model card.
        licence: Licence of the weights, for the model card.

    Raises:
        NotFittedError: If the router is not fitted.
        CheckpointError: If the router holds NaN or infinity or what is no JSON, the folder holds files and no
            checkpoint, or writing fails; what was there before is then still there.
    """
    target = Path(folder).resolve()
    state, name = router.state(), fingerprint(router)
    _check_finite(state.arrays)
    given = {
        "training_data": [dict(source) for source in training_data],
        "metrics": dict(metrics or {}),
        "notes": notes,
        "licence": licence,
    }
    manifest = _described(router, state, name) | given
    canonical(manifest)
    with _replacing(target) as fresh:
        _write(fresh / WEIGHTS, _tensors(state.arrays))
        if training is not None:
            _write(fresh / TRAINING, _tensors(training.to_arrays()))
        _write(fresh / CARD, model_card(manifest, target.name).encode())
        if policy is not None:
            _write(fresh / POLICY, _policy_bytes(policy, name))
        files = {path.name: sha256_of(path) for path in sorted(fresh.iterdir()) if path.name != POLICY}
        _write(fresh / MANIFEST, _pretty(seal(manifest | {"files": files})))
    return name


def save_policy(folder: str | Path, policy: Policy, fingerprint: str) -> None:
    """Put a policy beside the router that it was calibrated for; an older policy is replaced.

    Args:
        folder: A checkpoint.
        policy: What was calibrated.
        fingerprint: Of the router whose scores it was calibrated on.

    Raises:
        CheckpointError: If the folder holds another router, or writing fails.
    """
    target = Path(folder).resolve()
    held = read_json(target / MANIFEST)["fingerprint"]
    if held != fingerprint:
        raise CheckpointError(
            f"Policy was calibrated for router {fingerprint[:12]} but {str(folder)!r} holds {held[:12]}; scores are "
            f"not comparable. Run: prefroute calibrate {folder}"
        )
    try:
        with replacing(target / POLICY) as beside:
            beside.write_bytes(_policy_bytes(policy, fingerprint))
    except OSError as exc:
        raise CheckpointError(
            f"Could not write {str(target / POLICY)!r}: {exc.strerror}. Nothing was changed."
        ) from exc


def _described(router: Router, state: RouterState, name: str) -> dict[str, Any]:
    models = getattr(router, "models", None)
    return {
        "format": FORMAT,
        "prefroute": _version(),
        "fingerprint": name,
        "kind": router.kind,
        "params": router.params(),
        "strong": router.strong,
        "weak": router.weak,
        "models": None if models is None else list(models),
        "embedder": _embedder_entry(router),
        "meta": dict(state.meta),
        "tensors": tensor_table(state.arrays),
    }


def _version() -> str:
    try:
        return version("prefroute")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"


def _embedder_entry(router: Router) -> dict[str, Any] | None:
    if not router.uses_embedder:
        return None
    embedder = getattr(router, "embedder")  # noqa: B009 - only some subclasses have it
    return {"spec": embedder.spec, "id": embedder.id, "dim": embedder.dim}


def _check_finite(arrays: Arrays) -> None:
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise CheckpointError(f"The router's tensor {name!r} holds NaN or infinity; it is not saved. Train again.")


def _tensors(arrays: Arrays) -> bytes:
    try:
        return safetensors_bytes({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    except (KeyError, SafetensorError) as exc:
        raise CheckpointError(f"The router's tensors cannot be stored as safetensors: {exc}.") from exc


def _policy_bytes(policy: Policy, fingerprint: str) -> bytes:
    return _pretty(seal({"format": FORMAT, "fingerprint": fingerprint, "policy": policy.to_dict()}))


def _pretty(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A new folder that becomes `target` when the block ends well, and vanishes when it does not."""
    _check_target(target)
    fresh: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".new", dir=target.parent))
        fresh.chmod(0o755)
        yield fresh
        _exchange(fresh, target)
    except OSError as exc:
        raise CheckpointError(
            f"Could not write the checkpoint {str(target)!r}: {exc.strerror or exc}. What was there is unchanged."
        ) from exc
    finally:
        if fresh is not None:
            shutil.rmtree(fresh, ignore_errors=True)


def _check_target(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise CheckpointError(f"{str(target)!r} is a file. Name a folder for the checkpoint.")
    if target.is_dir() and any(target.iterdir()) and not (target / MANIFEST).is_file():
        raise CheckpointError(
            f"{str(target)!r} holds files that are no checkpoint (no {MANIFEST}); it is left alone. "
            "Name another folder."
        )


def _exchange(fresh: Path, target: Path) -> None:
    """Rename `fresh` to `target`; the old one is set aside, and put back should that fail. Files not ours move over."""
    if not target.exists():
        fresh.rename(target)
        return
    aside = fresh.with_suffix(".old")
    target.rename(aside)
    try:
        fresh.rename(target)
    except OSError:
        aside.rename(target)
        raise
    for entry in sorted(aside.iterdir()):
        if entry.name not in _OURS:
            _hand_over(entry, target)
    shutil.rmtree(aside, ignore_errors=True)


def _hand_over(entry: Path, target: Path) -> None:
    try:
        entry.rename(target / entry.name)
    except OSError as exc:
        raise CheckpointError(
            f"The checkpoint {str(target)!r} was saved, but {entry.name!r}, which lay beside the old one, could not be "
            f"moved back: {exc.strerror}. It is in {str(entry.parent)!r}."
        ) from exc
