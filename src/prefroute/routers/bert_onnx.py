"""`bert_onnx`: a `bert` router as an ONNX graph, scored by ONNX Runtime without torch (extra `onnx`).

The door is `BertOnnx.of`, behind `prefroute export onnx`; what it makes is saved and opened like any other router.
It learns nothing itself, and only `of` needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, NoReturn, Self

import numpy as np

from prefroute.embed.onnx import open_session
from prefroute.embed.padding import padded
from prefroute.errors import CheckpointError, ConfigError, DataError, MissingExtraError
from prefroute.routers._readers import EncoderReader, batches
from prefroute.routers.base import Router, RouterState, check_prompts, checked_arrays
from prefroute.train.calibration import softmax
from prefroute.types import Battles, FloatArray, Mixture, Outcomes

if TYPE_CHECKING:
    from prefroute.routers.bert import Bert

__all__ = ["BertOnnx"]

_GRAPH, _TOKENIZER = "model.onnx", "tokenizer.json"
_TOKENS_PER_BATCH = 256  # what a processor's caches hold: with 8,192 a long prompt took twice the time
_TOLERANCE = 1e-4
# short, long, empty and past every limit: what an exported graph is compared on
_PROBES = ("Hi", "", "Prove that the square root of two is irrational. " * 9, "word " * 4000)


class BertOnnx(Router):
    """A fine-tuned encoder as a graph, scored on the CPU; safe to call from several threads.

    Args:
        strong: Name of the strong model.
        weak: Name of the weak model.
    """

    kind: ClassVar[str] = "bert_onnx"
    learns_from: ClassVar[tuple[type[Battles | Outcomes | Mixture], ...]] = ()

    def __init__(self, strong: str, weak: str) -> None:
        self.strong = strong
        self.weak = weak

    @classmethod
    def of(cls, router: Bert) -> tuple[Self, float]:
        """A `bert` router as a graph, and how far a score of the graph was from the router's at most.

        Args:
            router: A fitted router.

        Returns:
            The graph's router; the largest difference of a win rate on a few probes, at most 1e-4.

        Raises:
            NotFittedError: If the router is not fitted.
            MissingExtraError: If the extra `onnx` or `train` is not installed.
            ConfigError: If the encoder cannot be exported, or the graph scores otherwise than the router.
        """
        router._require("parts_")
        from prefroute.routers._bert_graph import graph_of

        parts = router.parts_
        graph = graph_of(parts.network, parts.meta["max_tokens"])
        files = {_GRAPH: graph, _TOKENIZER: parts.tokenizer.encode()}
        meta = {
            "max_tokens": parts.meta["max_tokens"],
            "temperature": router.temperature_,
            "strong_share": list(router.strong_share),
        }
        arrays = {name: np.frombuffer(content, dtype=np.uint8) for name, content in files.items()}
        made = cls(router.strong, router.weak).restore(RouterState(arrays, meta))
        distance = float(np.abs(made.win_rate(_PROBES) - router.win_rate(_PROBES)).max())
        if not distance <= _TOLERANCE:  # NaN too
            raise ConfigError(
                f"The exported graph scores {distance:.2g} away from the router, more than {_TOLERANCE:g}. Serve the "
                "checkpoint itself."
            )
        return made, distance

    def fit(self, data: Battles | Outcomes | Mixture) -> NoReturn:
        """Refuse: train a `bert` router, and export it.

        Raises:
            DataError: Always.
        """
        raise DataError(
            f"bert_onnx learns from no table, got {type(data).__name__}: it is a bert router, exported. "
            "Run: prefroute train bert ... --out DIR and prefroute export onnx DIR --out OTHER"
        )

    def win_rate(self, prompts: Sequence[str]) -> FloatArray:
        """P(strong preferred to weak | prompt), in [0, 1], shape (n,)."""
        self._require("state_")
        rows = self.reader_(check_prompts(prompts))
        temperature = float(self.state_.meta["temperature"])
        strong_share = np.array(self.state_.meta["strong_share"])  # (k,)
        rates = np.zeros(len(rows))
        for batch in batches(rows, _TOKENS_PER_BATCH):
            ids, mask = padded([rows[i] for i in batch])
            (logits,) = self.session_.run(["logits"], {"input_ids": ids, "attention_mask": mask})  # (b, k)
            rates[batch] = softmax(logits.astype(np.float64) / temperature) @ strong_share
        return np.minimum(rates, 1.0)  # the sum of shares may pass 1 by one rounding

    def state(self) -> RouterState:
        """The bytes of the graph and of its tokenizer, and what turns logits into a win rate."""
        self._require("state_")
        return self.state_

    def restore(self, state: RouterState) -> Self:
        """Become the router that `state` was taken from.

        Raises:
            MissingExtraError: If ONNX Runtime is not installed.
            CheckpointError: If the graph or the tokenizer cannot be opened.
        """
        arrays = checked_arrays(state, {_GRAPH: ("uint8", 1), _TOKENIZER: ("uint8", 1)})
        try:
            reader = EncoderReader(arrays[_TOKENIZER].tobytes().decode(), int(state.meta["max_tokens"]))
            session = open_session(arrays[_GRAPH].tobytes(), "The router `bert_onnx`")
        except MissingExtraError:
            raise
        except Exception as exc:  # tokenizers and onnxruntime raise bare Exception subclasses of their own
            raise CheckpointError(
                f"The checkpoint's graph cannot be opened ({type(exc).__name__}). Export the router again."
            ) from exc
        self.reader_, self.session_, self.state_ = reader, session, state
        return self
