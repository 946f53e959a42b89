"""A fine-tuned encoder as an ONNX graph: written with torch, scored by ONNX Runtime without it (extra `onnx`).

The folder holds `model.onnx` (token ids and mask in, logits out), `tokenizer.json` and `scoring.json`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prefroute.errors import CheckpointError, ConfigError, MissingExtraError
from prefroute.routers._readers import EncoderReader
from prefroute.routers.base import check_prompts
from prefroute.train.calibration import softmax
from prefroute.types import FloatArray

__all__ = ["OnnxScorer", "write_graph"]

_GRAPH, _TOKENIZER, _SCORING = "model.onnx", "tokenizer.json", "scoring.json"
_BATCH_SIZE = 32


class OnnxScorer:
    """Scores prompts with an exported encoder, on the CPU.

    Args:
        session: An `onnxruntime.InferenceSession`.
        reader: Prompts -> token ids.
        temperature: What logits are divided by.
        strong_share: What each label adds to P(strong preferred).
    """

    def __init__(self, session: Any, reader: EncoderReader, temperature: float, strong_share: Sequence[float]) -> None:
        self._session = session
        self._reader = reader
        self._temperature = temperature
        self._strong_share = np.array(strong_share)

    @classmethod
    def open(cls, folder: str | Path) -> OnnxScorer:
        """The scorer in a folder that `export_onnx` wrote.

        Raises:
            MissingExtraError: If ONNX Runtime is not installed.
            CheckpointError: If the folder does not hold one.
        """
        try:
            import onnxruntime
        except ImportError as exc:
            raise MissingExtraError("Scoring with ONNX", "onnx") from exc
        root = Path(folder)
        try:
            scoring = json.loads((root / _SCORING).read_text(encoding="utf-8"))
            reader = EncoderReader((root / _TOKENIZER).read_text(encoding="utf-8"), int(scoring["max_tokens"]))
            session = onnxruntime.InferenceSession(str(root / _GRAPH), providers=["CPUExecutionProvider"])
            return cls(session, reader, float(scoring["temperature"]), scoring["strong_share"])
        except Exception as exc:  # tokenizers and onnxruntime raise bare Exception subclasses of their own
            raise CheckpointError(
                f"{str(folder)!r} holds no exported router that can be opened ({type(exc).__name__}). Export it again."
            ) from exc

    def win_rate(self, prompts: Sequence[str]) -> FloatArray:
        """P(strong preferred to weak | prompt), in [0, 1], shape (n,)."""
        rows = self._reader(check_prompts(prompts))
        rates = np.zeros(len(rows))
        by_length = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        for start in range(0, len(rows), _BATCH_SIZE):
            batch = by_length[start : start + _BATCH_SIZE]
            ids = np.zeros((len(batch), max(len(rows[i]) for i in batch)), dtype=np.int64)
            mask = np.zeros_like(ids)
            for place, i in enumerate(batch):
                ids[place, : len(rows[i])] = rows[i]
                mask[place, : len(rows[i])] = 1
            logits = self._session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]
            rates[batch] = softmax(logits.astype(np.float64) / self._temperature) @ self._strong_share
        return np.minimum(rates, 1.0)


def write_graph(network: Any, tokenizer: str, scoring: dict[str, Any], folder: Path) -> None:
    """Write an encoder's graph, its tokenizer and what scoring needs.

    Raises:
        MissingExtraError: If the exporter is not installed.
        ConfigError: If the encoder has a part that cannot be exported.
    """
    try:
        import onnxscript  # noqa: F401 - torch's exporter needs it
        import torch
    except ImportError as exc:
        raise MissingExtraError("ONNX export", "onnx") from exc
    from prefroute.routers._networks import pad

    # two rows of different length, so that neither axis is taken for a constant
    given = tuple(tensor.to(next(network.parameters()).device) for tensor in pad([[1] * 7, [1] * 5], left=False))
    axes = {0: torch.export.Dim("n", min=1, max=4096), 1: torch.export.Dim("tokens", min=1, max=scoring["max_tokens"])}
    folder.mkdir(parents=True, exist_ok=True)
    network.eval()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's notes on its own internals
            torch.onnx.export(
                network,
                given,
                str(folder / _GRAPH),
                input_names=["input_ids", "attention_mask"],
                output_names=["logits"],
                dynamic_shapes=(axes, axes),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as exc:  # whatever a network's own code raises while it is traced
        raise ConfigError(
            f"This encoder cannot be exported to ONNX ({type(exc).__name__}). Serve the checkpoint itself."
        ) from exc
    (folder / _TOKENIZER).write_text(tokenizer, encoding="utf-8")
    (folder / _SCORING).write_text(json.dumps(scoring, indent=1, sort_keys=True) + "\n", encoding="utf-8")
