"""`causal_llm`: a pretrained decoder that marks the weak model's answer 1 to 5 before it is given (extra `train`).

The decoder reads an instruction with the prompt in it; the mark is read off as the next token among [[1]] to [[5]]:
P(weak is good enough) = P([[4]]) + P([[5]]), and the win rate is the rest.

Source: Ong et al. 2024, arXiv:2406.18665, sec. 4.2 (Llama-3-8B fine-tuned whole, 2,000 steps of 8, learning rate
1e-6, 2,048 tokens). Differs: the instruction is ours; any decoder; LoRA; labels come from win rates, a tie half on
[[3]] and half on [[4]]; the loss goes over the label tokens only, as the score does; a held-out split ends the
training early and gives a temperature.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from prefroute.errors import CheckpointError, ConfigError
from prefroute.routers._causal_prompt import instruction_ids, label_ids
from prefroute.routers._finetune import FineTuned, Parts
from prefroute.routers._folders import Base, open_base, transformers_library
from prefroute.routers._readers import DecoderReader
from prefroute.types import FloatArray

__all__ = ["CausalLLM"]

_STRONG, _TIE, _WEAK = (np.array(row) for row in ([1.0, 0, 0, 0, 0], [0, 0, 0.5, 0.5, 0], [0, 0, 0, 0, 1.0]))


class CausalLLM(FineTuned):
    """A decoder that reads the win rate off five label tokens.

    Args:
        strong: Name of the strong model.
        weak: Name of the weak model.
        base: The pretrained decoder: a folder, or a name on the Hugging Face hub.
        lora_rank: Rank of LoRA adapters on all linear layers (peft); 0 trains the whole decoder. With LoRA a
            checkpoint keeps the adapters and the label tokens' rows alone, and needs the base to be loaded again.
        chat: Whether the base's chat template stands around the instruction; one that hides the label position is
            refused.
        steps: Most optimiser steps.
        batch_size: Prompts in a step.
        accumulate: Parts that a step's batch is split into, for less memory and the same result.
        lr: Highest learning rate, reached after a tenth of the steps; it then falls linearly. The paper's 1e-6 suits
            an 8B model trained whole; LoRA wants about 1e-4.
        weight_decay: Of AdamW; biases and norms have none.
        max_tokens: Tokens that are read at most, the instruction among them; the middle of a longer prompt is cut.
        held_out_share: Share of the distinct prompts that is kept for early stopping and the temperature.
        precision: "auto" (bfloat16 on a GPU, float32 on a CPU), "float32" or "bfloat16", in training.
        seed: Draws the split, the label rows, the adapters, the batches and the dropout.

    Attributes:
        temperature_: What logits are divided by, fitted on the held-out split.
        training_: Report of the training (`prefroute.train.report`); None on a router that was loaded.
    """

    kind: ClassVar[str] = "causal_llm"
    left: ClassVar[bool] = True
    n_labels: ClassVar[int] = 5
    strong_share: ClassVar[tuple[float, ...]] = (1.0, 1.0, 1.0, 0.0, 0.0)

    def __init__(  # noqa: PLR0913 - one for each setting of the recipe
        self,
        strong: str,
        weak: str,
        *,
        base: str = "Qwen/Qwen2.5-0.5B",
        lora_rank: int = 0,
        chat: bool = False,
        steps: int = 2000,
        batch_size: int = 8,
        accumulate: int = 1,
        lr: float = 1e-5,
        weight_decay: float = 0.01,
        max_tokens: int = 2048,
        held_out_share: float = 0.1,
        precision: str = "auto",
        seed: int = 0,
    ) -> None:
        self.strong = strong
        self.weak = weak
        self.base = base
        self.lora_rank = lora_rank
        self.chat = chat
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
        if not (isinstance(self.lora_rank, int) and self.lora_rank >= 0):
            raise ConfigError(f"`lora_rank` must be a whole number, 0 or more, got {self.lora_rank!r}.")

    def _open(self) -> Parts:
        base = open_base(self.base, self.kind, decoder=True)
        from prefroute.routers._networks import DecoderNetwork, first_rows, lora

        max_tokens = min(self.max_tokens, base.max_tokens)
        before, after = instruction_ids(base.tokenizer, chat=self.chat, max_tokens=max_tokens)
        meta = {
            "config": base.model.config.to_dict(),
            "max_tokens": max_tokens,
            "base_sha256": base.sha256,
            "before": before,
            "after": after,
            "label_ids": label_ids(base.tokenizer),
        }
        network = DecoderNetwork(self._body(base), first_rows(base.model, self.n_labels))
        kept = lora(network, self.lora_rank) if self.lora_rank else None
        tokenizer = base.tokenizer.backend_tokenizer.to_str()
        return Parts(network, DecoderReader(tokenizer, max_tokens, before, after), tokenizer, meta, kept)

    def _reopen(self, tokenizer: str, meta: Mapping[str, Any]) -> Parts:
        library = transformers_library(self.kind)
        from prefroute.routers._networks import DecoderNetwork, empty_body, empty_rows, lora

        body = self._same_base(meta["base_sha256"]) if self.lora_rank else empty_body(library, meta["config"])
        network = DecoderNetwork(body, empty_rows(body, self.n_labels))
        kept = lora(network, self.lora_rank) if self.lora_rank else None
        reader = DecoderReader(tokenizer, meta["max_tokens"], meta["before"], meta["after"])
        return Parts(network, reader, tokenizer, dict(meta), kept)

    def _same_base(self, sha256: str) -> Any:
        """The decoder that the adapters were trained on."""
        base = open_base(self.base, self.kind, decoder=True)
        if base.sha256 != sha256:
            raise CheckpointError(
                f"The adapters were trained on weights {sha256[:12]} of {self.base!r}, which now are "
                f"{base.sha256[:12]}. Bring those weights back, or train again."
            )
        return self._body(base)

    @staticmethod
    def _body(base: Base) -> Any:
        return base.model.base_model

    def _targets(self, win: FloatArray) -> FloatArray:
        """Label distributions: strong wins is [[1]], a tie half [[3]] and half [[4]], weak wins [[5]], shape (n, 5).

        A soft win lies between its two neighbours, so that the mass on [[1]] to [[3]] is the win rate itself.
        """
        win = win[:, None]  # (n, 1)
        upper, lower = (2 * win - 1) * _STRONG + (2 - 2 * win) * _TIE, 2 * win * _TIE + (1 - 2 * win) * _WEAK
        targets: FloatArray = np.where(win >= 0.5, upper, lower)
        return targets
