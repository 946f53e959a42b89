"""Hashed word n-grams of a prompt, from the hashes of its words. Private to the routers room."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from prefroute.prompts import MAX_CHARS
from prefroute.types import IndexArray

__all__ = ["ngrams", "sum_rows"]

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: spreads sums of hashes over all bits
_ONES = np.ones(8 * MAX_CHARS, dtype=np.float32)  # more than the n-grams of a prompt, of up to five words


def ngrams(words: Sequence[npt.NDArray[np.uint64]], longest: int, bits: int) -> list[IndexArray]:
    """The buckets that the word n-grams of each prompt fall into, each once and in rising order, n arrays.

    Args:
        words: Hashes of the words and signs of n prompts (`prefroute.lexicon`).
        longest: n-grams are of one word to this many.
        bits: They are hashed into `2**bits` buckets.
    """
    return [_buckets(hashed, longest, bits) for hashed in words]


def sum_rows(rows: npt.NDArray[np.float32], buckets: Sequence[IndexArray]) -> npt.NDArray[np.float32]:
    """Sum of the rows of each prompt's buckets, (V, w) -> (n, w); the same in any batch to the last bit."""
    sums = np.empty((len(buckets), rows.shape[1]), dtype=np.float32)
    for chosen, total in zip(buckets, sums, strict=True):
        # clip: buckets are below V, and to have `take` check it costs as much as to take
        _ONES[: len(chosen)].dot(rows.take(chosen, axis=0, mode="clip"), out=total)  # (k,) @ (k, w) -> (w,)
    return sums


def _buckets(words: npt.NDArray[np.uint64], longest: int, bits: int) -> IndexArray:
    grams = [words]
    for size in range(1, longest):
        grams.append(grams[-1][:-1] * _MULTIPLIER + words[size:])
    place = np.concatenate(grams)
    place *= _MULTIPLIER
    place >>= np.uint64(64 - bits)
    place.sort()
    is_first = np.empty(len(place), dtype=bool)
    is_first[:1] = True
    np.not_equal(place[1:], place[:-1], out=is_first[1:])
    return place[is_first].view(np.intp)
