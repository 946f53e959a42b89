"""What a prompt looks like without a language model: hashed word n-grams and surface counts.

Private to the routers room. Both read at most `MAX_CHARS` of a prompt (head and tail), so that a very long prompt
costs no more than a long one; only the length is that of the whole.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence

import numpy as np

from prefroute.prompts import head_tail
from prefroute.routers._ridge import SparseRows
from prefroute.types import FloatArray, IndexArray

__all__ = ["MAX_CHARS", "SURFACE_FEATURES", "ngram_ids", "ngram_rows", "surface"]

MAX_CHARS = 2048

# A digit is a token of its own: "12" and "47" should share what they say, and how many digits there are matters.
_TOKEN = re.compile(r"[a-z]+|\d|[^\w\s]|\w+")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: spreads sums of hashes over all bits
_MEMO_LIMIT = 200_000


class _TokenHashes(dict[str, int]):
    """CRC-32 of each token seen so far: the same in every process, unlike Python's own hash."""

    def __missing__(self, token: str) -> int:
        if len(self) >= _MEMO_LIMIT:
            self.clear()
        self[token] = value = zlib.crc32(token.encode("utf-8", "replace"))
        return value


_hashes = _TokenHashes()


def ngram_ids(prompt: str, ngrams: int, bits: int) -> IndexArray:
    """Buckets of the word n-grams (n = 1 to `ngrams`) that stand in the prompt, sorted, each once, in [0, 2**bits)."""
    tokens = _TOKEN.findall(head_tail(prompt, MAX_CHARS).lower())
    if not tokens:
        return np.zeros(0, dtype=np.intp)
    words = np.fromiter(map(_hashes.__getitem__, tokens), dtype=np.uint64, count=len(tokens))
    grams = [words]
    for _ in range(ngrams - 1):
        longer = grams[-1][:-1] * _MULTIPLIER + words[len(grams) :]
        grams.append(longer)
    mixed = np.concatenate(grams) * _MULTIPLIER
    return np.unique((mixed >> np.uint64(64 - bits)).astype(np.intp))


def ngram_rows(prompts: Sequence[str], ngrams: int, bits: int) -> SparseRows:
    """Presence of each bucket in each prompt, 0 or 1, shape (n, 2**bits)."""
    rows = [ngram_ids(prompt, ngrams, bits) for prompt in prompts]
    sizes = [len(row) for row in rows]
    columns = np.concatenate(rows) if rows else np.zeros(0, dtype=np.intp)
    return SparseRows(np.repeat(np.arange(len(rows)), sizes), columns, np.ones(len(columns)), (len(rows), 2**bits))


_CLASSES: dict[str, str] = {
    "digits": "0123456789",
    "capitals": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "math": "$\\^_{}=+*/<>",
    "commas": ",",
    "quotes": '"',
    "brackets": "(",
    "questions": "?",
    "breaks": "\n",
}
SURFACE_FEATURES: tuple[str, ...] = (
    "log_chars",
    "log_words",
    "word_length",
    "code",
    "log_questions",
    "log_breaks",
    "commas_per_word",
    "digits_share",
    "capitals_share",
    "math_share",
    "quotes_share",
    "brackets_share",
    "other_share",
)
"""Names of the columns of `surface`; shares are of bytes, `other` is what lies beyond ASCII."""


def _class_table() -> FloatArray:
    table = np.zeros((256, len(_CLASSES) + 1))
    for column, characters in enumerate(_CLASSES.values()):
        table[list(characters.encode()), column] = 1
    table[128:, -1] = 1
    return table


_TABLE = _class_table()  # (256, classes)
_CODE = re.compile(r"`|\bdef |\bclass |\breturn\b|;\n|\{\n|</")


def surface(prompts: Sequence[str]) -> FloatArray:
    """Counts and shares that need no dictionary, shape (n, len(SURFACE_FEATURES)); finite for any text."""
    return np.array([_surface_row(prompt) for prompt in prompts]).reshape(len(prompts), len(SURFACE_FEATURES))


def _surface_row(prompt: str) -> tuple[float, ...]:
    text = head_tail(prompt, MAX_CHARS)
    data = np.frombuffer(text.encode("utf-8", "replace"), dtype=np.uint8)
    counts = (np.bincount(data, minlength=256) @ _TABLE).tolist()  # (256,) -> (classes,)
    digits, capitals, math_signs, commas, quotes, brackets, questions, breaks, other = counts
    n_bytes, n_words = len(data) + 1, len(text.split()) + 1
    return (
        math.log1p(len(prompt)),
        math.log(n_words),
        min(n_bytes / n_words, 40.0),
        float(_CODE.search(text) is not None),
        math.log1p(questions),
        math.log1p(breaks),
        commas / n_words,
        digits / n_bytes,
        capitals / n_bytes,
        math_signs / n_bytes,
        quotes / n_bytes,
        brackets / n_bytes,
        other / n_bytes,
    )
