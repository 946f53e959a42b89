"""Embeddings by ONNX Runtime on the CPU (extra `onnx`): a folder with `model.onnx` and `tokenizer.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from prefroute.embed.padding import padded
from prefroute.embed.text import CHARS_PER_TOKEN, model_text
from prefroute.errors import ConfigError, MissingExtraError

__all__ = ["OnnxEmbedder", "open_session"]

_BATCH_SIZE = 32
_DEFAULT_MAX_TOKENS = 512
_KNOWN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class OnnxEmbedder:
    """A text encoder as an ONNX graph.

    The vector is the graph's output `sentence_embedding` if it has one, else its first output: as it is where that
    has shape (n, d), the mean over the tokens that are not padding where it has shape (n, tokens, d). A text is cut
    to 8 characters for each token that the model reads before it is tokenised.

    Args:
        session: An `onnxruntime.InferenceSession`.
        tokenizer: A `tokenizers.Tokenizer` that neither pads nor truncates.
        max_tokens: Tokens that the model reads.
        id: Names the exact weights.
        spec: What opens it again.
    """

    def __init__(self, session: Any, tokenizer: Any, max_tokens: int, id: str, spec: str) -> None:
        self.id = id
        self.spec = spec
        self.trained_on: frozenset[str] = frozenset()
        self._session = session
        self._tokenizer = tokenizer
        self._max_chars = CHARS_PER_TOKEN * max_tokens
        self._inputs = [node.name for node in session.get_inputs()]
        outputs = [node.name for node in session.get_outputs()]
        self._output = "sentence_embedding" if "sentence_embedding" in outputs else outputs[0]
        self.dim = int(self._batch([""]).shape[1])

    @classmethod
    def from_folder(cls, folder: Path) -> OnnxEmbedder:
        """The model in a folder.

        Raises:
            MissingExtraError: If ONNX Runtime is not installed.
            ConfigError: If a file is missing or cannot be opened, or the graph wants other inputs than token ids.
        """
        from tokenizers import Tokenizer

        graph, words = folder / "model.onnx", folder / "tokenizer.json"
        for file in (graph, words):
            if not file.is_file():
                raise ConfigError(
                    f"{file} is missing. `onnx:FOLDER` wants a folder with model.onnx and tokenizer.json."
                )
        digest = hashlib.sha256()
        for file in (*sorted(folder.glob("model.onnx*")), words):
            digest.update(file.read_bytes())
        max_tokens = _max_tokens(folder)
        try:
            tokenizer = Tokenizer.from_file(str(words))
            session = open_session(str(graph), "The `onnx` embedder")
        except MissingExtraError:
            raise
        except Exception as exc:  # both libraries raise bare Exception subclasses of their own
            raise ConfigError(f"{folder} cannot be opened ({type(exc).__name__}). Export the model again.") from exc
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        unknown = {node.name for node in session.get_inputs()} - set(_KNOWN_INPUTS)
        if unknown:
            raise ConfigError(
                f"{graph} wants the input {sorted(unknown)[0]!r}. A text encoder takes {', '.join(_KNOWN_INPUTS)}."
            )
        return cls(session, tokenizer, max_tokens, f"onnx@{digest.hexdigest()[:12]}", f"onnx:{folder}")

    def encode(self, prompts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Vectors of the prompts, shape (n, d); batches and their order change them by less than 1e-5."""
        texts = [model_text(prompt, self._max_chars) for prompt in prompts]
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # so that little is padding
        for start in range(0, len(texts), _BATCH_SIZE):
            rows = by_length[start : start + _BATCH_SIZE]
            vectors[rows] = self._batch([texts[i] for i in rows])
        return vectors

    def _batch(self, texts: list[str]) -> npt.NDArray[np.float32]:
        encodings = self._tokenizer.encode_batch(texts)
        ids, mask = padded([encoding.ids for encoding in encodings])
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        output = self._session.run([self._output], {name: given[name] for name in self._inputs})[0]
        if output.ndim == 2:
            return np.asarray(output, dtype=np.float32)
        weights = mask[:, :, None].astype(np.float32)  # (n, tokens, 1)
        # a text without a single token (no special tokens, empty) is zeros, not 0 / 0
        mean = (output * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1)  # (n, d)
        return np.asarray(mean, dtype=np.float32)


def open_session(graph: str | bytes, what: str) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU.

    Args:
        graph: A file, or its content.
        what: The thing that needs it, for the message.

    Raises:
        MissingExtraError: If ONNX Runtime is not installed.
        Exception: Some class of ONNX Runtime's own, if the graph cannot be opened.
    """
    try:
        import onnxruntime
    except ImportError as exc:
        raise MissingExtraError(what, "onnx") from exc
    options = onnxruntime.SessionOptions()
    # threads that wait in a loop for more took nearly as much processor time again, from whoever else needs it
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _max_tokens(folder: Path) -> int:
    """Tokens that the model reads: the sentence-transformers limit if stated, else the tokenizer's, else 512."""
    try:
        stated = _json(folder / "sentence_bert_config.json").get("max_seq_length")
        cut = _json(folder / "tokenizer.json").get("truncation")
        tokens = stated or (cut or {}).get("max_length") or _DEFAULT_MAX_TOKENS
        return int(tokens)
    except (ValueError, TypeError, AttributeError) as exc:
        raise ConfigError(f"The JSON files in {folder} are not those of a model. Export the model again.") from exc


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
