"""From prompts to token ids for the fine-tuned routers: one code for training and scoring, with torch and without.

A prompt's text never becomes a special token, whatever it says: "[SEP]" or "[[5]]" in a prompt is read as characters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from prefroute.embed.text import CHARS_PER_TOKEN, model_text

__all__ = ["DecoderReader", "EncoderReader", "batches"]

_MOST_AT_ONCE = 64


def _tokenizer(text: str) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(text)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


class EncoderReader:
    """Prompts as an encoder reads them: its own special tokens around the text, cut at the end.

    Args:
        tokenizer: The text of a `tokenizer.json`.
        max_tokens: Tokens that are left at most, special ones among them.
    """

    def __init__(self, tokenizer: str, max_tokens: int) -> None:
        self._tokenizer = _tokenizer(tokenizer)
        self._tokenizer.enable_truncation(max_tokens)
        self._max_chars = CHARS_PER_TOKEN * max_tokens

    def __call__(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt; a prompt without any token gets one padding token, id 0."""
        texts = [model_text(prompt, self._max_chars) for prompt in prompts]
        return [encoding.ids or [0] for encoding in self._tokenizer.encode_batch(texts)]


class DecoderReader:
    """Prompts as a decoder reads them: between the two parts of an instruction, so that the label comes next.

    Args:
        tokenizer: The text of a `tokenizer.json`.
        max_tokens: Tokens that are left at most, those of the instruction among them.
        before: Token ids of the instruction up to the prompt.
        after: Token ids from the prompt to the label position, never cut.
    """

    def __init__(self, tokenizer: str, max_tokens: int, before: Sequence[int], after: Sequence[int]) -> None:
        self._tokenizer = _tokenizer(tokenizer)
        self._before, self._after = list(before), list(after)
        self._budget = max_tokens - len(before) - len(after)
        self._max_chars = CHARS_PER_TOKEN * max_tokens

    def __call__(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt; of a long one the first two thirds and the last third of what fits are kept."""
        texts = [model_text(prompt, self._max_chars) for prompt in prompts]
        encodings = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        return [[*self._before, *self._fit(encoding.ids), *self._after] for encoding in encodings]

    def _fit(self, ids: list[int]) -> list[int]:
        if len(ids) <= self._budget:
            return ids
        tail = self._budget // 3
        return ids[: self._budget - tail] + ids[len(ids) - tail :]


def batches(rows: Sequence[Sequence[int]], most_tokens: int = 8192) -> Iterator[list[int]]:
    """Places of the rows in batches of like length, the longest first.

    Args:
        rows: Token ids of each prompt.
        most_tokens: Of a batch with its padding; a longer row comes alone. As it is, the activations of a large
            model stay within a few gigabytes.

    Example:
        >>> list(batches([[1], [1, 2, 3], [1, 2]]))
        [[0, 2, 1]]
    """
    by_length = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    while by_length:
        n = max(1, min(_MOST_AT_ONCE, most_tokens // max(1, len(rows[by_length[-1]]))))
        yield by_length[-n:]
        del by_length[-n:]
