"""An encoder with its head as an ONNX graph. Imports torch and the exporter when it is called, never before."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

from prefroute.errors import ConfigError, MissingExtraError

__all__ = ["graph_of"]


def graph_of(network: Any, max_tokens: int) -> bytes:
    """The graph of a network, `input_ids` and `attention_mask`, shape (n, t) each, to `logits`, shape (n, k).

    It says nothing of the machine that it was made on: the exporter writes the path and line of the code behind each
    node, which are taken out again.

    Args:
        network: An `EncoderNetwork` (`prefroute.routers._networks`).
        max_tokens: Tokens that it reads at most.

    Raises:
        MissingExtraError: If torch or its exporter is not installed.
        ConfigError: If the encoder has a part that cannot be exported.
    """
    try:
        import torch
    except ImportError as exc:
        raise MissingExtraError("ONNX export", "train") from exc
    try:
        from onnxscript.ir.passes.common import ClearMetadataAndDocStringPass
    except ImportError as exc:
        raise MissingExtraError("ONNX export", "onnx") from exc
    from prefroute.routers._networks import pad

    # two rows of different length, so that neither axis is taken for a constant
    given = tuple(tensor.to(next(network.parameters()).device) for tensor in pad([[1] * 7, [1] * 5], left=False))
    axes = {0: torch.export.Dim("n", min=1, max=4096), 1: torch.export.Dim("tokens", min=1, max=max_tokens)}
    network.eval()
    try:
        with _quiet():
            program = torch.onnx.export(
                network,
                given,
                input_names=["input_ids", "attention_mask"],
                output_names=["logits"],
                dynamic_shapes=(axes, axes),
                dynamo=True,
                verbose=False,
            )
        ClearMetadataAndDocStringPass()(program.model)
        graph: bytes = program.model_proto.SerializeToString()
        return graph
    except Exception as exc:  # whatever a network's own code raises while it is traced
        raise ConfigError(
            f"This encoder cannot be exported to ONNX ({type(exc).__name__}). Serve the checkpoint itself."
        ) from exc


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notes on its own internals."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
