"""`bert`: a pretrained encoder fine-tuned whole to tell {strong wins, tie, weak wins} from a prompt (extra `train`).

Source: Ong et al. 2024, arXiv:2406.18665, sec. 4.2 (BERT-base, [CLS], 2,000 steps of 16, learning rate 1e-5, weight
decay 0.01). Differs: a tie counts half a win (there it counts for the weak model); any encoder; soft labels; a
held-out split ends the training early and gives a temperature; the head reads the mean over the tokens and starts at
a penalised regression on the untouched encoder (`_probe`), where fine-tuning takes it up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from prefroute.data import prompt_folds
from prefroute.errors import ConfigError
from prefroute.routers._finetune import FineTuned, Parts
from prefroute.routers._folders import open_base, transformers_library
from prefroute.routers._readers import EncoderReader
from prefroute.types import FloatArray, IndexArray

__all__ = ["Bert"]

_POOLINGS = ("cls", "mean")
_PROBE_FOLDS = 5
_MOST_PROBED = 5_000  # prompts: enough for a line, and minutes on a CPU


class Bert(FineTuned):
    """An encoder with a three-label head.

    Args:
        strong: Name of the strong model.
        weak: Name of the weak model.
        base: The pretrained encoder: "minilm", a folder, or a name on the Hugging Face hub.
        pooling: What the head reads: "mean" (over all tokens) or "cls" (first token, as in the paper).
        probe: Whether the head starts at a penalised regression; False for at random, as in the paper.
        frozen_layers: The embeddings and this many of the lowest layers stay as they are; 0 trains all. Half of the
            layers take two thirds of the time.
        steps: Most optimiser steps.
        batch_size: Prompts in a step.
        accumulate: Parts that a step's batch is split into, for less memory and the same result.
        lr: Highest learning rate, reached after a tenth of the steps; it then falls linearly.
        weight_decay: Of AdamW; biases and norms have none.
        max_tokens: Tokens of a prompt that are read at most; the rest is cut.
        held_out_share: Share of the distinct prompts that is kept for early stopping and the temperature.
        precision: "auto" (bfloat16 on a GPU, float32 on a CPU), "float32" or "bfloat16", in training.
        seed: Draws the split, the head, the batches and the dropout.

    Attributes:
        temperature_: What logits are divided by, fitted on the held-out split.
        training_: Report of the training (`prefroute.train.report`); None on a router that was loaded.
    """

    kind: ClassVar[str] = "bert"
    left: ClassVar[bool] = False
    n_labels: ClassVar[int] = 3
    strong_share: ClassVar[tuple[float, ...]] = (1.0, 0.5, 0.0)

    def __init__(  # noqa: PLR0913 - one for each setting of the recipe
        self,
        strong: str,
        weak: str,
        *,
        base: str = "minilm",
        pooling: str = "mean",
        probe: bool = True,
        frozen_layers: int = 0,
        steps: int = 2000,
        batch_size: int = 16,
        accumulate: int = 1,
        lr: float = 1e-5,
        weight_decay: float = 0.01,
        max_tokens: int = 512,
        held_out_share: float = 0.1,
        precision: str = "auto",
        seed: int = 0,
    ) -> None:
        self.strong = strong
        self.weak = weak
        self.base = base
        self.pooling = pooling
        self.probe = probe
        self.frozen_layers = frozen_layers
        self.steps = steps
        self.batch_size = batch_size
        self.accumulate = accumulate
        self.lr = lr
        self.weight_decay = weight_decay
        self.max_tokens = max_tokens
        self.held_out_share = held_out_share
        self.precision = precision
        self.seed = seed

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.pooling not in _POOLINGS:
            raise ConfigError(f"`pooling` must be cls or mean, got {self.pooling!r}.")
        if not (isinstance(self.frozen_layers, int) and self.frozen_layers >= 0):
            raise ConfigError(f"`frozen_layers` must be a whole number, 0 or more, got {self.frozen_layers!r}.")
        if self.max_tokens < 8:
            raise ConfigError(f"`max_tokens` must be at least 8, got {self.max_tokens}.")

    def _open(self) -> Parts:
        base = open_base(self.base, self.kind, decoder=False)
        from prefroute.routers._networks import EncoderNetwork, freeze_lower

        if self.frozen_layers:
            freeze_lower(base.model, self.frozen_layers)
        max_tokens = min(self.max_tokens, base.max_tokens)
        tokenizer = base.tokenizer.backend_tokenizer.to_str()
        meta = {"config": base.model.config.to_dict(), "max_tokens": max_tokens, "base_sha256": base.sha256}
        network = EncoderNetwork(base.model, self.n_labels, self.pooling)
        return Parts(network, EncoderReader(tokenizer, max_tokens), tokenizer, meta)

    def _reopen(self, tokenizer: str, meta: Mapping[str, Any]) -> Parts:
        library = transformers_library(self.kind)
        from prefroute.routers._networks import EncoderNetwork, empty_body

        network = EncoderNetwork(empty_body(library, meta["config"]), self.n_labels, self.pooling)
        return Parts(network, EncoderReader(tokenizer, meta["max_tokens"]), tokenizer, dict(meta))

    def _start(
        self,
        network: Any,
        prompts: Sequence[str],
        rows: Sequence[Sequence[int]],
        targets: FloatArray,
        learned: IndexArray,
    ) -> None:
        if not self.probe:
            return
        from prefroute.routers._networks import features_of, set_head
        from prefroute.routers._probe import fit_probe

        chosen = np.random.default_rng(self.seed).permutation(learned)[:_MOST_PROBED]
        fold = prompt_folds([prompts[i] for i in chosen], _PROBE_FOLDS, self.seed)
        set_head(network, *fit_probe(features_of(network, [rows[i] for i in chosen]), targets[chosen], fold))

    def _targets(self, win: FloatArray) -> FloatArray:
        """Strong wins, tie, weak wins; a soft win lies between its two neighbours, shape (n, 3)."""
        return np.stack([np.maximum(2 * win - 1, 0), 1 - np.abs(2 * win - 1), np.maximum(1 - 2 * win, 0)], axis=1)
