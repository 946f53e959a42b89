"""Static embeddings: a row per token, averaged. No model is run, so a prompt costs microseconds.

Reads the files of model2vec (`model.safetensors`, `tokenizer.json`, `config.json`) from a folder. They are read here
rather than through the model2vec package because a decision has microseconds: importing the package, and letting the
tokenizer walk the whole text, cost several times the rest (docs/adr/0004-static-embeddings.md has the measurements).
The vectors are the same, and a test compares them.

Shapes: V tokens, d dimensions, t tokens of one prompt.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from prefroute.errors import ConfigError, DataError
from prefroute.prompts import MAX_CHARS, head_tail, pieces

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["StaticEmbedder"]

_BUILTIN = Path(__file__).with_name("static_minilm")
_FILES = ("model.safetensors", "tokenizer.json", "config.json")
_MEMO_LIMIT = 200_000
_LONGEST_KEPT = 40  # characters: a longer piece is no word that comes again, and 200,000 of them would fill the memory


class _PieceMemo(dict[str, tuple[int, ...]]):
    """Tokens of each piece of text seen so far; a new piece is tokenised when it is first looked up."""

    def __init__(self, tokenizer: Tokenizer, unknown: int | None) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.unknown = unknown

    def __missing__(self, piece: str) -> tuple[int, ...]:
        # A lone surrogate cannot be tokenised; it becomes a question mark.
        text = piece.encode("utf-8", "replace").decode()
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        found = tuple(i for i in ids if i != self.unknown)
        if len(piece) <= _LONGEST_KEPT:
            if len(self) >= _MEMO_LIMIT:
                self.clear()
            self[piece] = found
        return found


class StaticEmbedder:
    """Mean of the token rows of a prompt.

    Zeros where no token is known (an empty prompt). Every vector depends on its own prompt only, so neither the order
    nor the number of prompts changes a bit of it. Safe to share between threads.

    Args:
        rows: One row per token, any numeric type, shape (V, d).
        tokenizer: Gives token numbers below V.
        id: Names the exact weights.
        spec: What `open_embedder` opens it by.
        normalise: Whether vectors are scaled to length one.

    Attributes:
        id: As given.
        spec: As given.
        dim: d.
        trained_on: Empty: distillation sees no label.
        reads_pieces: Whether `encode_pieces` gives unit vectors of what `prefroute.prompts.pieces` has split.

    Example:
        >>> embedder = StaticEmbedder.builtin()
        >>> embedder.encode(["What is the capital of France?", ""]).shape[0]
        2
    """

    def __init__(
        self,
        rows: npt.NDArray[np.float32],
        tokenizer: Tokenizer,
        *,
        id: str,
        spec: str,
        normalise: bool = True,
    ) -> None:
        self.rows = rows
        self.tokenizer = tokenizer
        self.id = id
        self.spec = spec
        self.dim = int(rows.shape[1])
        self.trained_on: frozenset[str] = frozenset()
        self.normalise = normalise
        self._splits_like_bert = type(tokenizer.pre_tokenizer).__name__ == "BertPreTokenizer"
        self.reads_pieces = self._splits_like_bert and normalise
        self._memo = _PieceMemo(tokenizer, _unknown_token(tokenizer))

    @classmethod
    @functools.cache
    def builtin(cls) -> StaticEmbedder:
        """The embedding that ships: all-MiniLM-L6-v2, distilled without labels (scripts/distil_static.py)."""
        return cls.from_folder(_BUILTIN, spec="static")

    @classmethod
    def from_folder(cls, folder: str | Path, *, spec: str | None = None) -> StaticEmbedder:
        """Read a folder that model2vec wrote.

        Args:
            folder: Holds `model.safetensors`, `tokenizer.json` and `config.json`.
            spec: What `open_embedder` should open it by; the folder's path if not given.

        Raises:
            ConfigError: If a file is missing.
            DataError: If the weights do not fit the tokenizer, or hold NaN.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load as load_tensors
        from tokenizers import Tokenizer

        path = Path(folder)
        for name in _FILES:
            if not (path / name).is_file():
                raise ConfigError(
                    f"{path} is not a static embedding: it has no {name}. Give a folder saved by model2vec."
                )
        weights = (path / "model.safetensors").read_bytes()
        text = (path / "tokenizer.json").read_bytes()
        try:
            tensors = load_tensors(weights)
            tokenizer = Tokenizer.from_str(text.decode())
            config = json.loads((path / "config.json").read_bytes())
            rows = _rows(tensors, tokenizer.get_vocab_size())
        except (SafetensorError, ValueError, KeyError) as exc:
            raise DataError(f"{path} is not a readable static embedding: {exc}. Save it again with model2vec.") from exc
        tokenizer.no_padding()
        tokenizer.no_truncation()
        digest = hashlib.sha256(weights + text).hexdigest()
        name = spec or str(path)
        return cls(
            rows,
            tokenizer,
            id=f"static@{digest[:16]}",
            spec=name,
            normalise=bool(config.get("normalize", False)),
        )

    def encode(self, prompts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Vectors of the prompts, shape (n, d); zeros where no token is known."""
        if self._splits_like_bert:
            return self.encode_pieces([pieces(prompt) for prompt in prompts])
        return self.encode_pieces([[head_tail(prompt, MAX_CHARS)] for prompt in prompts])

    def encode_pieces(self, split: Sequence[Sequence[str]]) -> npt.NDArray[np.float32]:
        """Vectors of prompts that were split before: of each, what `prefroute.prompts.pieces` gave, shape (n, d).

        Saves a caller who needs the pieces for something else the time of splitting twice.
        """
        vectors = np.zeros((len(split), self.dim), dtype=np.float32)
        look_up = self._memo.__getitem__  # a piece that was seen before costs one dictionary look-up
        for i, found in enumerate(split):
            ids = np.fromiter(itertools.chain.from_iterable(map(look_up, found)), dtype=np.intp)
            if ids.size:
                share = np.full(ids.size, 1 / ids.size, dtype=np.float32)
                np.matmul(share, self.rows.take(ids, axis=0), out=vectors[i])  # (t,) @ (t, d) -> (d,)
        if self.normalise:
            norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
            vectors /= np.where(norms > 0, norms, 1)[:, None]
        return vectors

    def __repr__(self) -> str:
        """The id and the size."""
        return f"StaticEmbedder(id={self.id!r}, dim={self.dim})"


def _unknown_token(tokenizer: Tokenizer) -> int | None:
    model = json.loads(tokenizer.to_str())["model"]
    named = model.get("unk_token")
    unknown: int | None = model.get("unk_id") if named is None else tokenizer.token_to_id(named)
    return unknown


def _rows(tensors: dict[str, npt.NDArray[np.generic]], vocabulary: int) -> npt.NDArray[np.float32]:
    """The rows that are averaged, from the tensors of model2vec: embeddings, per-token weights, shared rows."""
    rows = tensors["embeddings"].astype(np.float32)  # (rows, d)
    if "mapping" in tensors:
        rows = rows[tensors["mapping"].astype(np.intp)]  # (V, d)
    if "weights" in tensors:
        rows *= tensors["weights"].astype(np.float32)[:, None]
    if len(rows) < vocabulary:
        raise ValueError(f"`embeddings` has {len(rows)} rows for {vocabulary} tokens")
    if not np.isfinite(rows).all():
        raise ValueError("`embeddings` holds NaN or infinity")
    return np.ascontiguousarray(rows)
