"""Reading checkpoints: every byte is checked before anything is made from it, and nothing is ever unpickled."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from prefroute.checkpoint.manifest import (
    CARD,
    MANIFEST,
    POLICY,
    TRAINING,
    WEIGHTS,
    fingerprint_of,
    read_json,
    sha256_of,
    tensor_table,
)
from prefroute.data import PromptKeys
from prefroute.errors import CheckpointError, ConfigError, DataError
from prefroute.policy import Policy, Threshold, policy_from_dict
from prefroute.routers import Router, RouterState, routers
from prefroute.types import Embedder

__all__ = ["Checkpoint", "load", "open_checkpoint"]

_UNSAFE = frozenset({".bin", ".ckpt", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth"})
_KEYS = {
    "embedder": (dict, type(None)),
    "files": (dict,),
    "fingerprint": (str,),
    "kind": (str,),
    "meta": (dict,),
    "params": (dict,),
    "tensors": (dict,),
}

DEFAULT = "default"
"""What the shipped router is called wherever a checkpoint folder is asked for."""

Opener = Callable[[str], Embedder]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint's folder holds.

    Attributes:
        router: The fitted router.
        fingerprint: Names it (`prefroute.checkpoint.fingerprint`).
        policy: The policy that was calibrated for it, or None.
        training: Hashes of the prompts that it learned from, or None where they were not kept or not asked for.
        manifest: The content of `router.json`.
    """

    router: Router
    fingerprint: str
    policy: Policy | None
    training: PromptKeys | None
    manifest: Mapping[str, Any]

    def ready_threshold(self, strong_share: float) -> Threshold | None:
        """The threshold for a share from the checkpoint's own table, between its shares on a straight line.

        The table was made on the router's training prompts; other prompts give another share. None where there is no
        table.

        Args:
            strong_share: Wanted share of prompts for strong, in [0, 1].

        Raises:
            CheckpointError: If the table is no table of numbers.
        """
        table = self.manifest.get("metrics", {}).get("thresholds")
        if not table:
            return None
        try:
            points = sorted((float(share), float(alpha)) for share, alpha in table.items())
            shares, alphas = zip(*[(0.0, 1.0), *points, (1.0, 0.0)], strict=True)
            return Threshold(float(np.interp(strong_share, shares, alphas)))
        except (AttributeError, TypeError, ValueError) as exc:
            raise CheckpointError(
                "The checkpoint's table of thresholds is no table of numbers. Train it again."
            ) from exc


def load(folder: str | Path, *, embedder: Embedder | None = None) -> Router:
    """The router in a checkpoint's folder; see `open_checkpoint`."""
    return open_checkpoint(folder, embedder=embedder).router


def open_checkpoint(
    folder: str | Path,
    *,
    embedder: Embedder | None = None,
    opener: Opener | None = None,
    known: Mapping[str, Router] | None = None,
    with_training: bool = True,
    with_policy: bool = True,
) -> Checkpoint:
    """The router in a checkpoint's folder with all that was saved beside it.

    Args:
        folder: What `save_checkpoint` wrote; "default" is the router that ships inside the package (`./default` for a
            folder of that name).
        embedder: Takes the place of the one that the checkpoint names; must have its id and dimensions.
        opener: Opens the embedder by its spec; `prefroute.embed.open_embedder` by default.
        known: Routers by fingerprint; where the folder holds one of them, it is taken and no second one is made.
        with_training: Whether the hashes of the training prompts are wanted; to score, they are not.
        with_policy: Whether the policy is wanted; to choose another, it is not, and may be unsound.

    Raises:
        CheckpointError: If the folder is missing, damaged, too new or not a checkpoint; if a tensor is missing,
            unknown, or holds NaN; or if the embedder or the policy belongs to another router.
    """
    root = _existing(default_folder() if folder == DEFAULT else Path(folder))
    manifest = _manifest(root)
    arrays = _tensors(root / WEIGHTS)
    _check_tensors(arrays, manifest["tensors"])
    state = RouterState(arrays=arrays, meta=manifest["meta"])
    embedded = manifest["embedder"]
    name = fingerprint_of(manifest["kind"], manifest["params"], embedded and embedded["id"], state)
    if name != manifest["fingerprint"]:
        raise CheckpointError(
            f"{str(folder)!r} does not hold the router that it names: fingerprint {manifest['fingerprint'][:12]} is "
            f"written, {name[:12]} was found. Copy the folder again."
        )
    router = (known or {}).get(name)
    return Checkpoint(
        router=_router(manifest, state, embedder, opener) if router is None else router,
        fingerprint=name,
        policy=_policy(root, name) if with_policy else None,
        training=_training(root) if with_training and TRAINING in manifest["files"] else None,
        manifest=manifest,
    )


def default_folder() -> Path:
    """The checkpoint that ships inside the package."""
    return Path(str(files("prefroute"))) / DEFAULT


def _existing(folder: Path) -> Path:
    if folder.suffix.lower() in _UNSAFE and not folder.is_dir():
        raise CheckpointError(
            f"{str(folder)!r} is of an unsafe format: reading it may run code, so it is not opened. Give the folder of "
            f"a checkpoint, which holds {MANIFEST} and {WEIGHTS}."
        )
    if not folder.is_dir():
        raise CheckpointError(f"{str(folder)!r} is not a folder. Give the folder that `prefroute train --out` wrote.")
    if not (folder / MANIFEST).exists() and not (folder / MANIFEST).is_symlink():
        raise CheckpointError(f"{str(folder)!r} is no checkpoint: it has no {MANIFEST}. Run: prefroute train --out DIR")
    return folder


def _manifest(root: Path) -> dict[str, Any]:
    """The manifest, after its own check and that of every file it names."""
    manifest = read_json(root / MANIFEST)
    for key, kinds in _KEYS.items():
        if not isinstance(manifest.get(key), kinds):
            raise CheckpointError(f"{str(root / MANIFEST)!r}: {key!r} is missing or of the wrong type. Train again.")
    files = manifest["files"]
    if not {WEIGHTS} <= set(files) <= {WEIGHTS, TRAINING, CARD}:
        raise CheckpointError(
            f"{str(root / MANIFEST)!r} must name {WEIGHTS}, and may name {TRAINING} and {CARD}; it names "
            f"{sorted(files)}. Nothing else is opened."
        )
    for name, wanted in files.items():
        if sha256_of(root / name) != wanted:
            raise CheckpointError(
                f"{str(root / name)!r} is corrupt: its SHA-256 is not the one in {MANIFEST}. Copy it again."
            )
    known = manifest["embedder"]
    if known is not None and not (
        isinstance(known.get("id"), str) and isinstance(known.get("spec"), str) and isinstance(known.get("dim"), int)
    ):
        raise CheckpointError(f"{str(root / MANIFEST)!r}: `embedder` must have id, spec and dim. Train again.")
    return manifest


def _tensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, KeyError, TypeError, ValueError) as exc:
        raise CheckpointError(f"{str(path)!r} is not a sound safetensors file: {exc}. Train again.") from exc


def _check_tensors(arrays: Mapping[str, npt.NDArray[Any]], table: Mapping[str, Any]) -> None:
    found = tensor_table(arrays)
    if set(found) != set(table):
        missing, extra = sorted(set(table) - set(found)), sorted(set(found) - set(table))
        raise CheckpointError(f"{WEIGHTS} does not fit {MANIFEST}: missing {missing}, unknown {extra}. Train again.")
    for name, entry in found.items():
        if entry != table[name]:
            raise CheckpointError(f"Tensor {name!r} must be {table[name]}, got {entry}. Train again.")
        if arrays[name].dtype.kind == "f" and not np.isfinite(arrays[name]).all():
            raise CheckpointError(f"Tensor {name!r} holds NaN or infinity. Train again.")


def _router(
    manifest: Mapping[str, Any], state: RouterState, embedder: Embedder | None, opener: Opener | None
) -> Router:
    try:
        router_class = routers.get(manifest["kind"])
    except ConfigError as exc:
        raise CheckpointError(f"The checkpoint's kind is not installed. {exc}") from exc
    wanted = set(inspect.signature(router_class).parameters) - {"embedder"}
    if set(manifest["params"]) != wanted:
        raise CheckpointError(
            f"Parameters of {manifest['kind']} must be {sorted(wanted)}, the checkpoint has "
            f"{sorted(manifest['params'])}. It was made by another version; train again."
        )
    arguments = dict(manifest["params"])
    if router_class.uses_embedder:
        arguments["embedder"] = _embedder(manifest["embedder"], embedder, opener)
    try:
        return router_class(**arguments).restore(state)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as exc:
        if isinstance(exc, DataError):
            raise CheckpointError(str(exc)) from exc
        raise CheckpointError(
            f"The checkpoint's content does not fit a {manifest['kind']} router ({type(exc).__name__}: {exc}). "
            "Train again."
        ) from exc


def _embedder(known: Mapping[str, Any] | None, given: Embedder | None, opener: Opener | None) -> Embedder:
    if known is None:
        raise CheckpointError("The checkpoint names no embedder, which its kind needs. Train again.")
    if given is None and opener is None:
        from prefroute.embed import open_embedder

        opener = open_embedder
    if given is None:
        assert opener is not None
        given = opener(known["spec"])
    if (given.id, given.dim) != (known["id"], known["dim"]):
        raise CheckpointError(
            f"The router was trained on vectors of {known['id']!r} ({known['dim']} dimensions), got embedder "
            f"{given.id!r} ({given.dim}). Open that embedder (spec {known['spec']!r}), or train again with this one."
        )
    return given


def _policy(root: Path, name: str) -> Policy | None:
    path = root / POLICY
    if not path.exists() and not path.is_symlink():
        return None
    try:
        stored = read_json(path)
    except CheckpointError as exc:
        raise CheckpointError(f"{exc} Or choose it anew: prefroute calibrate {root}") from exc
    if stored.get("fingerprint") != name:
        raise CheckpointError(
            f"Policy was calibrated for router {str(stored.get('fingerprint'))[:12]} but the checkpoint is "
            f"{name[:12]}; scores are not comparable. Run: prefroute calibrate {root}"
        )
    try:
        return policy_from_dict(stored["policy"])
    except (ConfigError, KeyError, TypeError) as exc:
        raise CheckpointError(
            f"{str(path)!r} holds no policy that can be used: {exc} Run: prefroute calibrate"
        ) from exc


def _training(root: Path) -> PromptKeys:
    try:
        return PromptKeys.from_arrays(_tensors(root / TRAINING))
    except DataError as exc:
        raise CheckpointError(f"{str(root / TRAINING)!r}: {exc}") from exc
