"""What a prompt looks like without a dictionary: length, signs, numbers. Private to the routers room.

Reads the head and tail of a prompt, as `prefroute.prompts.pieces` does; only the length is that of the whole.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from prefroute.prompts import MAX_CHARS, head_tail
from prefroute.types import FloatArray

__all__ = ["SURFACE_FEATURES", "surface"]

SURFACE_FEATURES: tuple[str, ...] = (
    "log_chars",
    "log_pieces",
    "piece_length",
    "code",
    "log_questions",
    "log_breaks",
    "commas_per_piece",
    "digits_share",
    "capitals_share",
    "math_share",
    "quotes_share",
    "brackets_share",
    "other_share",
    "log_largest_number",
    "log_numbers",
    "decimals_share",
)
"""Names of the columns of `surface`; shares are of bytes, `other` is what lies beyond ASCII; `log_numbers` counts
different numbers, `decimals_share` is of numbers."""


_DIGITS = b"0123456789"
_CAPITALS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MATH = b"$\\^_{}=+*/<>"
_OTHER = bytes(range(128, 256))
_ALIKE = bytes.maketrans(
    _DIGITS + _CAPITALS + _MATH + _OTHER,
    b"0" * len(_DIGITS) + b"A" * len(_CAPITALS) + b"=" * len(_MATH) + b"\x80" * 128,
)  # one byte stands for its class: counting a byte is many times faster than looking for several
_COUNTED = b'0A=\x80\n,"('
_CODE = ("`", "def ", "class ", "return ", ";\n", "{\n", "</")
_NUMBER = re.compile(rb"[0-9][0-9]*(?:,[0-9]{3})*(?:\.[0-9]+)?")
_LARGEST = 1e9  # beyond it, larger is not harder


def surface(prompts: Sequence[str], n_pieces: Sequence[int]) -> FloatArray:
    """Counts and shares of prompts and their pieces, shape (n, len(SURFACE_FEATURES)); finite for any text."""
    rows = list(map(_surface_row, prompts, n_pieces))
    return np.array(rows).reshape(len(prompts), len(SURFACE_FEATURES))


def _surface_row(prompt: str, n_pieces: int) -> tuple[float, ...]:
    text = head_tail(prompt, MAX_CHARS)
    data = text.encode("utf-8", "replace")
    count = data.translate(_ALIKE).count
    digits, capitals, math_signs, other, breaks, commas, quotes, brackets = map(count, _COUNTED)
    n_bytes, n_pieces = len(data) + 1, n_pieces + 1
    numbers = set(_NUMBER.findall(data)) if digits else set()
    joined = b" ".join(numbers)
    return (
        math.log1p(len(prompt)),
        math.log(n_pieces),
        min(n_bytes / n_pieces, 40.0),
        float(any(map(text.__contains__, _CODE))),
        math.log1p(text.count("?")),  # a lone surrogate became one in `data`
        math.log1p(breaks),
        commas / n_pieces,
        digits / n_bytes,
        capitals / n_bytes,
        math_signs / n_bytes,
        quotes / n_bytes,
        brackets / n_bytes,
        other / n_bytes,
        math.log1p(min(max(map(float, joined.replace(b",", b"").split()), default=0.0), _LARGEST)),
        math.log1p(len(numbers)),
        joined.count(b".") / (len(numbers) + 1),
    )
