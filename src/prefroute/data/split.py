"""Splits that duplicates never straddle: a prompt's side depends on its normalised text and a seed only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from prefroute.errors import DataError
from prefroute.prompts import prompt_hash
from prefroute.types import IndexArray

__all__ = ["prompt_folds", "split_by_hash"]


def split_by_hash(prompts: Sequence[str], test_share: float, seed: int = 0) -> npt.NDArray[np.bool_]:
    """Which prompts are for testing: True for about `test_share` of the distinct prompts, shape (n,).

    A prompt's side depends on nothing but its normalised text and the seed: more data never moves a prompt across.

    Args:
        prompts: n strings.
        test_share: Wanted share of distinct prompts, strictly between 0 and 1.
        seed: Another seed gives another split.

    Raises:
        DataError: If `test_share` is not strictly between 0 and 1, or one side would be empty.

    Example:
        >>> mask = split_by_hash(["a", "b", "c", "d", " A ", "e"], 0.5, seed=1)
        >>> bool(mask[0] == mask[4])  # duplicates after normalisation
        True
    """
    if not 0 < test_share < 1:
        raise DataError(f"`test_share` must be strictly between 0 and 1, got {test_share}. Try 0.2.")
    mask = np.fromiter((_fraction(prompt, seed) < test_share for prompt in prompts), dtype=np.bool_, count=len(prompts))
    if mask.all() or not mask.any():
        side = "training" if mask.all() else "test"
        raise DataError(
            f"The split of {len(prompts)} prompts leaves the {side} part empty. Bring more distinct prompts, or choose "
            "another `test_share` or seed."
        )
    return mask


def prompt_folds(prompts: Sequence[str], k: int, seed: int = 0) -> IndexArray:
    """The fold of each prompt, 0 to k - 1, shape (n,); duplicates share a fold, and fold sizes are near equal.

    Args:
        prompts: n strings.
        k: Number of folds, at least 2 and at most the number of distinct prompts.
        seed: Order in which distinct prompts are dealt out.

    Raises:
        DataError: If there are fewer than `k` distinct prompts, or `k < 2`.

    Example:
        >>> folds = prompt_folds(["a", "b", "A", "c"], k=3)
        >>> bool(folds[0] == folds[2]), sorted(set(folds.tolist()))
        (True, [0, 1, 2])
    """
    if k < 2:
        raise DataError(f"`k` must be at least 2 folds, got {k}.")
    distinct: dict[str, int] = {}
    group = np.fromiter((distinct.setdefault(prompt_hash(p), len(distinct)) for p in prompts), dtype=np.intp)
    if len(distinct) < k:
        raise DataError(
            f"{k} folds need at least {k} distinct prompts, got {len(distinct)}. Use fewer folds or bring more data."
        )
    dealt = np.empty(len(distinct), dtype=np.intp)
    dealt[np.random.default_rng(seed).permutation(len(distinct))] = np.arange(len(distinct)) % k
    return dealt[group]


def _fraction(prompt: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}:{prompt_hash(prompt)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
