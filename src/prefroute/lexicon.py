"""Words and signs as numbers: what is known of a word is computed once and looked up ever after.

The door is `split`: it turns prompts into numbers of pieces (`prefroute.prompts.pieces`), at the price of one look-up
for each stretch of text between white space. A reader keeps a `Table` of what it wants to know of a piece, such as its
hash or its embedding. This room must not know what that is.

A lexicon that is full is let go with every table's rows, and a new one begins, so memory is bounded. Safe to share
between threads: a `Split` keeps the lexicon that it was made with.

Shapes: n prompts, k pieces of one of them.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from prefroute.prompts import MAX_CHARS, head_tail, pieces

__all__ = ["Lexicon", "Split", "Table", "split", "sum_rows"]

_MOST_ENTRIES = 2**15  # stretches and pieces together; an embedding's rows are the largest part, about half a KB each
_MOST_CHARS = 2**21  # of them: what has no spaces makes few long entries


class Lexicon(dict[str, tuple[int, ...]]):
    """Numbers of the pieces of each stretch of text seen so far; a piece is numbered when it is first met.

    Attributes:
        pieces: The pieces in the order of their numbers.
        kept: Rows of each table, and of how many pieces; a table that is let go takes its rows with it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self.kept: weakref.WeakKeyDictionary[Table, tuple[npt.NDArray[Any], int]] = weakref.WeakKeyDictionary()
        self._numbers: dict[str, int] = {}
        self._n_chars = 0
        self._lock = threading.Lock()

    def __missing__(self, stretch: str) -> tuple[int, ...]:
        numbers = []
        with self._lock:
            for piece in pieces(stretch):
                number = self._numbers.setdefault(piece, len(self.pieces))
                if number == len(self.pieces):
                    self.pieces.append(piece)
                numbers.append(number)
            self._n_chars += len(stretch)
            self[stretch] = found = tuple(numbers)
        return found

    @property
    def is_full(self) -> bool:
        """Whether the next prompts should be numbered anew."""
        return len(self) + len(self.pieces) > _MOST_ENTRIES or self._n_chars > _MOST_CHARS


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Prompts as numbers of pieces.

    Attributes:
        lexicon: Gave the numbers.
        numbers: Those of each prompt, n arrays of shape (k,).
    """

    lexicon: Lexicon
    numbers: list[npt.NDArray[np.intp]]


_lexicon = Lexicon()


def split(prompts: Sequence[str]) -> Split:
    """The words and signs of each prompt's head and tail.

    Example:
        >>> found = split(["It's 4.5!", ""])
        >>> [[found.lexicon.pieces[i] for i in numbers] for numbers in found.numbers]
        [['It', "'", 's', '4', '.', '5', '!'], []]
    """
    global _lexicon  # noqa: PLW0603 - one for the process: every router and embedder reads the same words
    if _lexicon.is_full:
        _lexicon = Lexicon()
    lexicon = _lexicon
    numbers = []
    for prompt in prompts:
        stretches = head_tail(prompt, MAX_CHARS).split()
        found = itertools.chain.from_iterable(map(lexicon.__getitem__, stretches))
        numbers.append(np.fromiter(found, dtype=np.intp))
    return Split(lexicon, numbers)


class Table:
    """A row for each piece, computed when the piece is first looked at.

    Args:
        compute: Rows of the given pieces, in order, always of one type and width.
    """

    def __init__(self, compute: Callable[[Sequence[str]], npt.NDArray[Any]]) -> None:
        self._compute = compute
        self._lock = threading.Lock()

    def rows(self, found: Split) -> npt.NDArray[Any]:
        """Rows by number, for at least the numbers in `found`."""
        rows, known = found.lexicon.kept.get(self, (None, 0))
        return self._extended(found.lexicon) if rows is None or known < len(found.lexicon.pieces) else rows

    def _extended(self, lexicon: Lexicon) -> npt.NDArray[Any]:
        with self._lock:
            rows, known = lexicon.kept.get(self) or (self._compute([]), 0)
            wanted = len(lexicon.pieces)
            if wanted > len(rows):  # in a new array: another thread may be reading the old one
                larger = np.empty((2 * wanted, *rows.shape[1:]), dtype=rows.dtype)
                larger[:known] = rows[:known]
                rows = larger
            rows[known:wanted] = self._compute(lexicon.pieces[known:wanted])
            lexicon.kept[self] = rows, wanted
        return rows


def sum_rows(rows: npt.NDArray[np.float32], numbers: Sequence[npt.NDArray[np.intp]]) -> npt.NDArray[np.float32]:
    """Sum of the rows that each prompt's numbers name, (V, w) -> (n, w); the same in any batch to the last bit."""
    sums = np.empty((len(numbers), rows.shape[1]), dtype=np.float32)
    ones = np.ones(max(map(len, numbers), default=0), dtype=np.float32)
    for i, chosen in enumerate(numbers):
        np.matmul(ones[: len(chosen)], rows.take(chosen, axis=0), out=sums[i])  # (k,) @ (k, w) -> (w,)
    return sums
