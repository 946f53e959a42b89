"""Hashed word n-grams of a prompt. Private to the routers room.

Words and signs are those of `prefroute.prompts.pieces`, which a static embedding reads too: a prompt is split once.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence

import numpy as np

from prefroute.routers._ridge import SparseRows
from prefroute.types import IndexArray

__all__ = ["ngram_rows"]

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: spreads sums of hashes over all bits
_MEMO_LIMIT = 200_000
_LONGEST_KEPT = 40  # characters: a longer piece is no word that comes again


class _PieceHashes(dict[str, int]):
    """CRC-32 of each piece seen so far, in lower case: the same in every process, unlike Python's own hash."""

    def __missing__(self, piece: str) -> int:
        value = zlib.crc32(piece.lower().encode("utf-8", "replace"))
        if len(piece) <= _LONGEST_KEPT:
            if len(self) >= _MEMO_LIMIT:
                self.clear()
            self[piece] = value
        return value


_hashes = _PieceHashes()


def ngram_rows(split: Sequence[Sequence[str]], ngrams: int, bits: int) -> SparseRows:
    """Presence of each bucket in each prompt: 1 where one of its word n-grams (n = 1 to `ngrams`) falls into it.

    Args:
        split: The pieces of each prompt.
        ngrams: Longest n-gram.
        bits: n-grams are hashed into `2**bits` buckets.

    Returns:
        Shape (n, 2**bits); in a row each bucket stands once, in rising order.
    """
    sizes = [len(found) for found in split]
    words = np.fromiter(
        map(_hashes.__getitem__, itertools.chain.from_iterable(split)), dtype=np.uint64, count=sum(sizes)
    )
    grams = [words]
    for n in range(1, ngrams):
        grams.append(grams[-1][:-1] * _MULTIPLIER + words[n:])
    place = ((np.concatenate(grams) * _MULTIPLIER) >> np.uint64(64 - bits)).view(np.int64)
    if len(split) > 1:
        place |= _rows_of(sizes, ngrams) << bits
    place.sort()
    first = np.empty(len(place), dtype=bool)
    first[:1] = True
    np.not_equal(place[1:], place[:-1], out=first[1:])
    place = place[first]
    if len(split) > 1:
        place = place[place >= 0]
    return SparseRows(place >> bits, place & (2**bits - 1), np.ones(len(place)), (len(split), 2**bits))


def _rows_of(sizes: list[int], ngrams: int) -> IndexArray:
    """Which prompt each n-gram is from, -1 for one that reaches over the end of its prompt."""
    row = np.repeat(np.arange(len(sizes)), sizes)
    longer = [np.where(row[n:] == row[:-n], row[n:], -1) for n in range(1, ngrams)]
    return np.concatenate([row, *longer])
