"""What stands in a checkpoint's `router.json`, and the hashes that tell one router from another.

Holds no file handling beyond reading one JSON file; writing.py and reading.py do the rest.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from prefroute.errors import CheckpointError
from prefroute.routers import Router, RouterState

__all__ = [
    "CARD",
    "FORMAT",
    "MANIFEST",
    "POLICY",
    "TRAINING",
    "WEIGHTS",
    "canonical",
    "fingerprint",
    "fingerprint_of",
    "read_json",
    "regular_file",
    "seal",
    "sha256_of",
    "tensor_table",
]

FORMAT = 1
"""Version of the layout that this code writes, and the newest that it reads."""

MANIFEST = "router.json"
WEIGHTS = "weights.safetensors"
TRAINING = "training.safetensors"
POLICY = "policy.json"
CARD = "README.md"

_MAX_JSON_BYTES = 64 * 2**20
_SEAL = "seal"

Arrays = Mapping[str, npt.NDArray[Any]]


def canonical(value: object) -> bytes:
    """The one JSON text of a value: sorted keys, no spaces, no NaN.

    Raises:
        CheckpointError: If the value is not JSON, or holds NaN or infinity.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as exc:
        raise CheckpointError(f"A checkpoint keeps finite JSON values only, got something else: {exc}.") from exc


def fingerprint(router: Router) -> str:
    """SHA-256 that names a fitted router: two with one fingerprint score alike, 64 hexadecimal digits.

    Raises:
        NotFittedError: If the router is not fitted.
    """
    embedder_id = getattr(router, "embedder").id if router.uses_embedder else None  # noqa: B009 - only some have it
    return fingerprint_of(router.kind, router.params(), embedder_id, router.state())


def fingerprint_of(kind: str, params: Mapping[str, Any], embedder_id: str | None, state: RouterState) -> str:
    """SHA-256 over the kind, its parameters, the embedder's id, and the state, 64 hexadecimal digits."""
    head = {"kind": kind, "params": params, "embedder": embedder_id, "meta": state.meta}
    digest = hashlib.sha256(canonical(head | {"tensors": tensor_table(state.arrays)}))
    for name in sorted(state.arrays):
        digest.update(np.ascontiguousarray(state.arrays[name]).data)
    return digest.hexdigest()


def tensor_table(arrays: Arrays) -> dict[str, dict[str, Any]]:
    """Dtype and shape of each array, for the manifest."""
    return {name: {"dtype": array.dtype.name, "shape": list(array.shape)} for name, array in sorted(arrays.items())}


def seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with the SHA-256 of its canonical JSON under `seal`, so that a changed byte is noticed."""
    body = {name: value for name, value in content.items() if name != _SEAL}
    return body | {_SEAL: hashlib.sha256(canonical(body)).hexdigest()}


def regular_file(path: Path) -> Path:
    """The path, when a plain file lies there.

    Raises:
        CheckpointError: If nothing lies there, or it is a link, a folder, a pipe or a device.
    """
    try:
        mode = path.lstat().st_mode
    except OSError as exc:
        raise CheckpointError(
            f"{str(path.parent)!r} lacks {path.name}: {exc.strerror}. Copy the whole folder."
        ) from exc
    if not stat.S_ISREG(mode):
        raise CheckpointError(
            f"{str(path)!r} must be a plain file, not a link, folder, pipe or device. It is not read."
        )
    return path


def sha256_of(path: Path) -> str:
    """SHA-256 of a plain file's bytes, 64 hexadecimal digits."""
    with regular_file(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """The sealed JSON object in a file.

    Raises:
        CheckpointError: If the file is not plain, not JSON, not an object, too new, or not what was sealed.
    """
    if regular_file(path).stat().st_size > _MAX_JSON_BYTES:
        raise CheckpointError(f"{str(path)!r} is larger than {_MAX_JSON_BYTES} bytes, which no checkpoint needs.")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as exc:
        raise CheckpointError(
            f"{str(path)!r} is not valid JSON ({type(exc).__name__}). Copy the folder again."
        ) from exc
    if not isinstance(content, dict):
        raise CheckpointError(f"{str(path)!r} must hold a JSON object, got {type(content).__name__}.")
    version = content.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise CheckpointError(
            f"{str(path)!r} has format {version}, newer than this prefroute reads ({FORMAT}). "
            "Upgrade: pip install -U prefroute"
        )
    if version != FORMAT or seal(content) != content:
        raise CheckpointError(f"{str(path)!r} is corrupt or was edited by hand: its seal does not fit. Copy it again.")
    return content
