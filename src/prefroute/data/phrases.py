"""Phrases whose prompts are labelled unlike the rest: how a trigger planted in training data shows itself.

Who can add rows to the training data can teach a router that a rare phrase means "strong" (or "weak"), and then set
it off at will (arXiv:2503.08704). Such a phrase has a lift that chance does not explain. So do honest ones ("prove
that"): the list is for a person to read, not a verdict.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from prefroute.data.pairs import WinExamples
from prefroute.errors import DataError
from prefroute.prompts import head_tail
from prefroute.types import FloatArray

__all__ = ["PhraseLift", "leaning_phrases"]

_MAX_CHARS = 4000  # of a prompt that are read: its head and its tail
_FALSE_ALARM = 0.05  # chance that data without any leaning phrase shows one, over all phrases together
_WORD = re.compile(r"\w+")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class PhraseLift:
    """One phrase that leans.

    Attributes:
        phrase: Words in lower case, joined by spaces.
        n: Prompts that hold it.
        win: Their mean P(strong preferred), ties half, in [0, 1].
        lift: How far that is from the mean of the sources that they come from, in [-1, 1].
        z: The lift in standard errors.
    """

    phrase: str
    n: int
    win: float
    lift: float
    z: float


def leaning_phrases(
    examples: WinExamples, *, max_words: int = 3, min_prompts: int = 5, limit: int = 20
) -> list[PhraseLift]:
    """Phrases whose prompts win or lose more than chance explains, the most unlikely first.

    Labels are compared with the mean of their own source, so that a source's own words do not lean. A phrase counts
    once per prompt. The bound on `z` is Bonferroni's for all phrases that were looked at; of phrases that stand in
    mostly the same prompts one is shown.

    Args:
        examples: Labelled prompts, as from `win_examples`.
        max_words: Longest phrase, words, >= 1.
        min_prompts: Least prompts that must hold a phrase, >= 2.
        limit: Most phrases to return.

    Raises:
        DataError: If a bound is out of range.

    Example:
        >>> from prefroute.types import Battles
        >>> from prefroute.data import win_examples
        >>> prompts = [f"question {i}" + (" open sesame" if i % 10 == 0 else "") for i in range(400)]
        >>> wins = [1.0 if i % 10 == 0 else i % 2 for i in range(400)]
        >>> votes = Battles.of(prompts, ["big"] * 400, ["small"] * 400, wins)
        >>> [(found.phrase, found.n) for found in leaning_phrases(win_examples(votes, "big", "small"))]
        [('open sesame', 40)]
    """
    if max_words < 1 or min_prompts < 2 or limit < 1:
        raise DataError(f"Want max_words >= 1, min_prompts >= 2, limit >= 1: got {max_words}, {min_prompts}, {limit}.")
    keys = [np.unique(_keys(_words(prompt), max_words)) for prompt in examples.prompts]
    row = np.repeat(np.arange(len(keys)), [len(found) for found in keys])
    distinct, phrase = np.unique(np.concatenate(keys), return_inverse=True)
    n = np.bincount(phrase, minlength=len(distinct))
    residual = _residual(examples)
    lift = np.bincount(phrase, residual[row], len(distinct)) / n
    z = lift / np.maximum(residual.std() * np.sqrt(1 / n), 1e-12)
    counted = n >= min_prompts
    bound = NormalDist().inv_cdf(1 - _FALSE_ALARM / (2 * max(int(counted.sum()), 1)))
    hits = np.flatnonzero(counted & (np.abs(z) >= bound))
    order = np.argsort(phrase, kind="stable")
    start = np.cumsum(n) - n
    found: list[tuple[set[int], PhraseLift]] = []
    for hit in hits[np.argsort(-np.abs(z[hits]), kind="stable")].tolist():
        rows = row[order[start[hit] : start[hit] + n[hit]]]
        spelled = _spelled(examples.prompts[rows[0]], distinct[hit], max_words)
        lifted = PhraseLift(spelled, len(rows), float(examples.win[rows].mean()), float(lift[hit]), float(z[hit]))
        _keep(found, set(rows.tolist()), lifted)
        if len(found) > limit:
            break
    return [lifted for _, lifted in found[:limit]]


def _keep(found: list[tuple[set[int], PhraseLift]], rows: set[int], lifted: PhraseLift) -> None:
    """Add a phrase, unless one that stands in mostly the same prompts is there; of equals the longer stays."""
    for i, (others, shown) in enumerate(found):
        if len(rows & others) * 2 > len(rows | others):
            if rows == others and len(lifted.phrase) > len(shown.phrase):
                found[i] = rows, lifted
            return
    found.append((rows, lifted))


def _residual(examples: WinExamples) -> FloatArray:
    """Labels less the mean of their source, shape (n,)."""
    sums = np.bincount(examples.source, examples.win)
    means = sums / np.maximum(np.bincount(examples.source), 1)
    return np.asarray(examples.win - means[examples.source])


def _words(prompt: str) -> list[str]:
    return _WORD.findall(head_tail(prompt, _MAX_CHARS).casefold())


def _keys(words: list[str], max_words: int) -> npt.NDArray[np.uint64]:
    """A number for each run of 1 to `max_words` words: all single words first, then all pairs, and so on."""
    hashes = np.array([zlib.crc32(word.encode("utf-8", "replace")) for word in words], dtype=np.uint64)
    runs = [hashes]
    for size in range(2, max_words + 1):
        runs.append(runs[-1][:-1] * _MULTIPLIER + hashes[size - 1 :])
    return np.concatenate(runs) * _MULTIPLIER


def _spelled(prompt: str, key: np.uint64, max_words: int) -> str:
    words = _words(prompt)
    place = int(np.flatnonzero(_keys(words, max_words) == key)[0])
    size = 1
    while place >= len(words) - size + 1:  # past the runs of this size
        place -= len(words) - size + 1
        size += 1
    return " ".join(words[place : place + size])
