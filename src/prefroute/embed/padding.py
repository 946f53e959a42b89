"""Rows of token ids as rectangles, for whatever network reads them. Sees no text and no framework."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["padded"]


def padded(rows: Sequence[Sequence[int]], *, left: bool = False) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Token ids of equal length, padding being 0, and their mask, shape (n, t) each, t at least 1.

    Args:
        rows: Token ids of n texts.
        left: Whether padding stands before a row; else behind it.

    Example:
        >>> ids, mask = padded([[7, 8, 9], [5]])
        >>> ids.tolist(), mask.tolist()
        ([[7, 8, 9], [5, 0, 0]], [[1, 1, 1], [1, 0, 0]])
    """
    width = max([1, *map(len, rows)])
    ids = np.zeros((len(rows), width), dtype=np.int64)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[i, place] = row
        mask[i, place] = 1
    return ids, mask
