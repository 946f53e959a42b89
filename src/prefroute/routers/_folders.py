"""Where a base model's files lie, and which weights they are: what `bert` and `causal_llm` start from.

A base is `minilm`, a folder, or a name on the Hugging Face hub. Only safetensors weights are ever opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prefroute.embed import model_folder
from prefroute.errors import ConfigError, MissingExtraError

__all__ = ["Base", "open_base", "transformers_library"]

_NO_LIMIT = 1 << 20  # the library writes 1e30 where a tokenizer states no limit
_DEFAULT_MAX_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Base:
    """A pretrained model as it was opened.

    Attributes:
        model: The transformers model, in float32 on the CPU.
        tokenizer: The transformers tokenizer, a fast one.
        sha256: Of the weights (`weights_hash`), 64 hexadecimal digits.
        max_tokens: Tokens that it reads at most.
    """

    model: Any
    tokenizer: Any
    sha256: str
    max_tokens: int


def open_base(base: str, kind: str, *, decoder: bool) -> Base:
    """The pretrained model that a router starts from.

    Args:
        base: `minilm`, a folder, or ORG/NAME on the hub.
        kind: The router's kind, for messages.
        decoder: Whether a causal language model is wanted; else an encoder.

    Raises:
        MissingExtraError: If transformers or torch is not installed.
        ConfigError: If no such model can be opened.
    """
    library = transformers_library(kind)
    from safetensors import SafetensorError

    from prefroute.embed.transformer import quiet, weights_hash

    folder = model_folder(base)
    digest = weights_hash(folder)
    loader = library.AutoModelForCausalLM if decoder else library.AutoModel
    try:
        with quiet():
            tokenizer = library.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            model = loader.from_pretrained(str(folder), local_files_only=True, use_safetensors=True, dtype="float32")
            tokenizer.backend_tokenizer.to_str()  # a slow tokenizer has none
    except (OSError, ValueError, KeyError, RuntimeError, AttributeError, SafetensorError) as exc:
        wanted = "decoder" if decoder else "encoder"
        raise ConfigError(
            f"`base` of {kind} must be an {wanted} that transformers can open, with a fast tokenizer; {str(folder)!r} "
            f"is not ({type(exc).__name__}). Choose another, or download it again."
        ) from exc
    return Base(model, tokenizer, digest, _limit(tokenizer, model.config))


def transformers_library(kind: str) -> Any:
    """The `transformers` module.

    Raises:
        MissingExtraError: If it or torch is not installed.
    """
    try:
        import torch  # noqa: F401 - transformers imports without it and fails later
        import transformers
    except ImportError as exc:
        raise MissingExtraError(f"The router `{kind}`", "train") from exc
    return transformers


def _limit(tokenizer: Any, config: Any) -> int:
    """Tokens that the model reads: what its tokenizer states, else its number of positions, else 512."""
    stated = int(tokenizer.model_max_length)
    if stated < _NO_LIMIT:
        return stated
    positions = getattr(config, "max_position_embeddings", None)
    return int(positions) if positions else _DEFAULT_MAX_TOKENS
