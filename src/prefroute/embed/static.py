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
import json
import math
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from prefroute.errors import ConfigError, DataError
from prefroute.lexicon import Lexicon
from prefroute.prompts import MAX_CHARS, head_tail

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["StaticEmbedder"]

_BUILTIN = Path(__file__).with_name("static_minilm")
_FILES = ("model.safetensors", "tokenizer.json", "config.json")
_TINY = 1e-30  # a vector of zeros divided by it stays zero


class StaticEmbedder:
    """Mean of the token rows of a prompt.

    Zeros where no token is known (an empty prompt). Every vector depends on its own prompt only, so neither the order
    nor the number of prompts changes a bit of it. Safe to share between threads.

    Args:
        rows: One row per token, any numeric type, kept as it is, shape (V, d).
        weights: What each row is multiplied by, shape (V,).
        tokenizer: Gives token numbers below V.
        id: Names the exact weights.
        spec: What `open_embedder` opens it by.
        normalise: Whether vectors are scaled to length one.

    Attributes:
        id: As given.
        spec: As given.
        dim: d.
        trained_on: Empty: distillation sees no label.
        lexicon: Reads prompts for `vectors`, where these have length one and the tokenizer splits like BERT.

    Example:
        >>> embedder = StaticEmbedder.builtin()
        >>> embedder.encode(["What is the capital of France?", ""]).shape[0]
        2
    """

    def __init__(
        self,
        rows: npt.NDArray[Any],
        weights: npt.NDArray[np.float32],
        tokenizer: Tokenizer,
        *,
        id: str,
        spec: str,
        normalise: bool = True,
    ) -> None:
        self.rows = rows
        self.weights = weights
        self.tokenizer = tokenizer
        self.id = id
        self.spec = spec
        self.dim = int(rows.shape[1])
        self.trained_on: frozenset[str] = frozenset()
        self.normalise = normalise
        self._splits_like_bert = type(tokenizer.pre_tokenizer).__name__ == "BertPreTokenizer"
        self._lowers = bool(getattr(tokenizer.normalizer, "lowercase", False))
        self._model = tokenizer.model
        self._unknown = _unknown_token(tokenizer)
        self.lexicon = Lexicon(self._tokens) if self._splits_like_bert and normalise else None

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
        tensor_file = (path / "model.safetensors").read_bytes()
        text = (path / "tokenizer.json").read_bytes()
        try:
            tensors = load_tensors(tensor_file)
            tokenizer = Tokenizer.from_str(text.decode())
            config = json.loads((path / "config.json").read_bytes())
            rows, weights = _rows(tensors, tokenizer.get_vocab_size())
        except (SafetensorError, ValueError, KeyError) as exc:
            raise DataError(f"{path} is not a readable static embedding: {exc}. Save it again with model2vec.") from exc
        tokenizer.no_padding()
        tokenizer.no_truncation()
        digest = hashlib.sha256(tensor_file + text).hexdigest()
        name = spec or str(path)
        return cls(
            rows,
            weights,
            tokenizer,
            id=f"static@{digest[:16]}",
            spec=name,
            normalise=bool(config.get("normalize", False)),
        )

    def encode(self, prompts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Vectors of the prompts, shape (n, d); zeros where no token is known."""
        if self.lexicon is None:
            return self.vectors([self._tokens(head_tail(prompt, MAX_CHARS)) for prompt in prompts])
        return self.vectors(self.lexicon.read(prompts)[1])

    def vectors(self, tokens: Sequence[bytes]) -> npt.NDArray[np.float32]:
        """Vectors of prompts from what the lexicon knows of them, the packed numbers of their tokens, shape (n, d)."""
        vectors = np.empty((len(tokens), self.dim), dtype=np.float32)
        for i, packed in enumerate(tokens):
            vector = vectors[i]
            ids = np.frombuffer(packed, dtype=np.int64)  # (t,)
            # clip: ids are below V, and to have `take` check it costs as much as to take
            rows = self.rows.take(ids, axis=0, mode="clip").astype(np.float32)
            self.weights.take(ids, mode="clip").dot(rows, out=vector)  # (t,) @ (t, d) -> (d,)
            vector /= max(math.sqrt(vector.dot(vector)) if self.normalise else len(ids), _TINY)
        return vectors

    def _tokens(self, text: str) -> bytes:
        """Numbers of the known tokens of a text, eight bytes each."""
        if self._splits_like_bert and text.isascii() and text.isalnum():  # a word: nothing to split or to clean
            word = text.lower() if self._lowers else text
            ids = [token.id for token in self._model.tokenize(word)]
        else:  # a lone surrogate cannot be tokenised; it becomes a question mark
            ids = self.tokenizer.encode(text.encode("utf-8", "replace").decode(), add_special_tokens=False).ids
        if self._unknown in ids:
            ids = [i for i in ids if i != self._unknown]
        return array("q", ids).tobytes()

    def __repr__(self) -> str:
        """The id and the size."""
        return f"StaticEmbedder(id={self.id!r}, dim={self.dim})"


def _unknown_token(tokenizer: Tokenizer) -> int | None:
    model = tokenizer.model
    if hasattr(model, "unk_token"):
        return None if model.unk_token is None else tokenizer.token_to_id(model.unk_token)
    unknown: int | None = json.loads(tokenizer.to_str())["model"].get("unk_id")  # of Unigram, which does not show it
    return unknown


def _rows(
    tensors: dict[str, npt.NDArray[np.generic]], vocabulary: int
) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.float32]]:
    """A row for each token and its weight, from the tensors of model2vec: embeddings, weights, shared rows."""
    rows = tensors["embeddings"]  # (rows, d)
    if "mapping" in tensors:
        rows = rows[tensors["mapping"].astype(np.intp)]  # (V, d)
    weights = tensors["weights"].astype(np.float32) if "weights" in tensors else np.ones(len(rows), dtype=np.float32)
    if len(rows) < vocabulary:
        raise ValueError(f"`embeddings` has {len(rows)} rows for {vocabulary} tokens")
    if len(weights) != len(rows):
        raise ValueError(f"`weights` has {len(weights)} numbers for {len(rows)} rows")
    if not (np.isfinite(rows).all() and np.isfinite(weights).all()):
        raise ValueError("`embeddings` or `weights` holds NaN or infinity")
    return rows, weights
