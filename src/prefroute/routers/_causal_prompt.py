"""The instruction around a prompt, and the five label tokens, of `causal_llm`.

The label position is the one right after the instruction's last token. Whatever a tokenizer or a chat template does,
it must stay there; what would hide it is refused.
"""

from __future__ import annotations

from typing import Any

from prefroute.errors import ConfigError

__all__ = ["LABELS", "instruction_ids", "label_ids"]

LABELS = ("[[1]]", "[[2]]", "[[3]]", "[[4]]", "[[5]]")

_BEFORE = (
    "A small assistant is cheap and answers many requests well; a large one is costly and answers more of them well. "
    "Judge how well the small assistant would answer the request below, from 1 (wrong or of no use) to 5 (as good as "
    "the large assistant's answer). Reply with the mark alone.\n\nRequest:\n"
)
_AFTER = "\n\nMark:"
_MARK = "PREFROUTE-REQUEST-STANDS-HERE"
_LEAST_PROMPT_TOKENS = 16


def label_ids(tokenizer: Any) -> list[int]:
    """Ids of the label tokens, which are added to the tokenizer's vocabulary where it lacks them."""
    from tokenizers import AddedToken

    tokens = [AddedToken(label, special=True, normalized=False) for label in LABELS]
    tokenizer.add_tokens(tokens, special_tokens=True)
    return [int(tokenizer.convert_tokens_to_ids(label)) for label in LABELS]


def instruction_ids(tokenizer: Any, *, chat: bool, max_tokens: int) -> tuple[list[int], list[int]]:
    """Token ids before and after the prompt.

    Args:
        tokenizer: A transformers tokenizer.
        chat: Whether its chat template stands around the instruction.
        max_tokens: Tokens that the model reads.

    Raises:
        ConfigError: If there is no chat template, it hides the label position, or too few tokens are left for a
            prompt.
    """
    before, after = _chat_parts(tokenizer) if chat else (_BEFORE, _AFTER)
    first, last = (tokenizer.encode(text, add_special_tokens=False) for text in (before, after))
    if not chat and tokenizer.bos_token_id is not None:
        first = [tokenizer.bos_token_id, *first]
    if max_tokens - len(first) - len(last) < _LEAST_PROMPT_TOKENS:
        raise ConfigError(
            f"`max_tokens` of {max_tokens} leaves {max_tokens - len(first) - len(last)} tokens for a prompt beside the "
            f"instruction's {len(first) + len(last)}; at least {_LEAST_PROMPT_TOKENS} are needed. Raise it."
        )
    return first, last


def _chat_parts(tokenizer: Any) -> tuple[str, str]:
    """What the chat template writes before and after the prompt, up to the place where an answer starts."""
    if not tokenizer.chat_template:
        raise ConfigError("The base's tokenizer has no chat template. Set `chat` to false.")
    request = [{"role": "user", "content": f"{_BEFORE}{_MARK}{_AFTER}"}]
    answer = [*request, {"role": "assistant", "content": LABELS[2]}]
    try:
        asked = tokenizer.apply_chat_template(request, tokenize=False, add_generation_prompt=True)
        answered = tokenizer.apply_chat_template(answer, tokenize=False)
    except Exception as exc:  # a template is a program of its own: anything may be raised
        raise ConfigError(
            f"The base's chat template does not take a request and an answer ({type(exc).__name__}). Set `chat` to "
            "false."
        ) from exc
    before, mark, after = asked.partition(_MARK)
    if not mark or _MARK in after or not answered.startswith(asked + LABELS[2]):
        raise ConfigError(
            "The base's chat template hides the label position: the answer does not follow right after the request "
            "that ends in its generation prompt. Set `chat` to false."
        )
    return before, after
