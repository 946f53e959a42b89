"""`stored:FILE`: vectors that were computed earlier, served under the id of the embedder that computed them.

The door is `StoredEmbedder` and `write_vectors`. A journal that keeps embeddings but no text is learned from this way:
a prompt is then its hash (`prefroute.prompts.prompt_hash`), and the text that the vector stands for is nowhere. A
router that is trained on it remembers the original embedder, and serves text with that.

The file is safetensors: `hashes` (n, 32) uint8, `vectors` (n, d) float16, `trained_on` (k, 32) uint8, and the
original's id and spec as metadata.

Shapes: n prompts, d dimensions, k prompts that the original was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from prefroute.errors import ConfigError, DataError
from prefroute.files import replacing
from prefroute.prompts import prompt_hash
from prefroute.types import Embedder

__all__ = ["StoredEmbedder", "write_vectors"]

_HASH_BYTES = 32
_HEX = frozenset("0123456789abcdef")


class StoredEmbedder:
    """Looks vectors up by the prompt's hash; a prompt that is a hash itself stands for what was hashed.

    Attributes:
        id: Of the embedder that computed the vectors.
        spec: What opens that one.
        dim: d.
        trained_on: As that one says.
    """

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="np") as file:
                metadata = file.metadata() or {}
                hashes, vectors, trained_on = (file.get_tensor(name) for name in ("hashes", "vectors", "trained_on"))
            self.id, self.spec = metadata["id"], metadata["spec"]
        except (OSError, SafetensorError, KeyError) as exc:
            raise ConfigError(
                f"{str(path)!r} is not a file of stored vectors. Make one with: "
                "prefroute data from-journal --vectors FILE"
            ) from exc
        self.dim = int(vectors.shape[1])
        self.trained_on = frozenset(row.tobytes().hex() for row in trained_on)
        self._vectors = vectors
        self._row = {row.tobytes(): i for i, row in enumerate(hashes)}
        self._name = path.name

    def encode(self, prompts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Vectors of the prompts, shape (n, d).

        Raises:
            DataError: If the file holds no vector of a prompt.
        """
        rows = np.empty(len(prompts), dtype=np.intp)
        for i, prompt in enumerate(prompts):
            found = self._row.get(bytes.fromhex(prompt if _is_hash(prompt) else prompt_hash(prompt)))
            if found is None:
                raise DataError(
                    f"Prompt {i}: {self._name} holds no vector of it. It serves the prompts of the table that was "
                    f"written with it; for others open the embedder {self.spec!r}."
                )
            rows[i] = found
        return np.asarray(self._vectors[rows], dtype=np.float32)


def write_vectors(path: Path, embedder: Embedder, hashes: Sequence[str], vectors: npt.NDArray[np.float16]) -> None:
    """Write what `StoredEmbedder` reads.

    Args:
        path: The file; one that exists is replaced.
        embedder: That computed the vectors.
        hashes: Of the prompts, 64 hexadecimal digits each, n of them, distinct.
        vectors: Shape (n, d).
    """
    from safetensors.numpy import save_file

    tensors: dict[str, npt.NDArray[Any]] = {
        "hashes": _packed(hashes),
        "vectors": vectors,
        "trained_on": _packed(sorted(embedder.trained_on)),
    }
    with replacing(path) as beside:
        save_file(tensors, beside, metadata={"id": embedder.id, "spec": embedder.spec})


def _packed(hashes: Sequence[str]) -> npt.NDArray[np.uint8]:
    return np.frombuffer(bytes.fromhex("".join(hashes)), dtype=np.uint8).reshape(-1, _HASH_BYTES)


def _is_hash(prompt: str) -> bool:
    return len(prompt) == 2 * _HASH_BYTES and _HEX.issuperset(prompt)
