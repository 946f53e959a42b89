"""Hashed word n-grams of a prompt. Private to the routers room.

Words and signs are those of `prefroute.lexicon.split`, which a static embedding reads too: a prompt is split once.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from prefroute.lexicon import Split, Table
from prefroute.types import IndexArray

__all__ = ["ngrams"]

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: spreads sums of hashes over all bits


def _crc32(pieces: Sequence[str]) -> npt.NDArray[np.uint64]:
    """Of each piece in lower case: the same in every process, unlike Python's own hash."""
    return np.array([zlib.crc32(piece.lower().encode("utf-8", "replace")) for piece in pieces], dtype=np.uint64)


_hashes = Table(_crc32)


def ngrams(found: Split, longest: int, bits: int) -> list[IndexArray]:
    """The buckets that the word n-grams of each prompt fall into, each once and in rising order, n arrays.

    Args:
        found: n prompts.
        longest: n-grams are of one word to this many.
        bits: They are hashed into `2**bits` buckets.
    """
    hashes = _hashes.rows(found)
    return [_buckets(hashes.take(numbers), longest, bits) for numbers in found.numbers]


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
