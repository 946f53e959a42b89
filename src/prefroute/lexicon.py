"""Words and signs, looked into once: what is known of a word is kept, and looked up ever after.

The door is `Lexicon`, with which a reader of prompts, such as a static embedding, reads them. It knows a hash of each
word and sign; what else the reader wants to know of one, such as its tokens, this room must not know.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from prefroute.prompts import pieces

__all__ = ["Lexicon"]

_MOST_ENTRIES = 2**15  # of a generation, about 250 bytes each
_LONGEST = 32  # characters: what is longer has no spaces, and hardly comes again


class Lexicon(dict[str, tuple[bytes, bytes]]):
    """The hash of each word or sign, and what the reader knows of it.

    Memory is bounded: a full generation of entries becomes the older one, and what is not asked for again goes with it.
    Safe to share between threads: an entry is the same whoever makes it.

    Args:
        look: What the reader knows of a word or sign.

    Example:
        >>> hashes, lengths = Lexicon(lambda piece: bytes([len(piece)])).read(["It's 4.5!", ""])
        >>> [list(known) for known in lengths], [len(known) for known in hashes]
        ([[2, 1, 1, 1, 1, 1, 1], []], [7, 0])
    """

    def __init__(self, look: Callable[[str], bytes]) -> None:
        super().__init__()
        self._look = look
        self._older: dict[str, tuple[bytes, bytes]] = {}

    def read(self, prompts: Sequence[str]) -> tuple[list[npt.NDArray[np.uint64]], list[bytes]]:
        """Of each prompt, the hashes of its pieces (`prefroute.prompts.pieces`), and what the reader knows of them.

        Both are in the order of the pieces. A hash is that of the piece in lower case, and the same in every process.
        """
        hashes, known = [], []
        for prompt in prompts:
            found = list(map(self.__getitem__, pieces(prompt)))
            hashes.append(np.frombuffer(b"".join([packed for packed, _ in found]), dtype=np.uint64))
            known.append(b"".join([fact for _, fact in found]))
        return hashes, known

    def __missing__(self, piece: str) -> tuple[bytes, bytes]:
        found = self._older.get(piece) or (_crc32(piece), self._look(piece))
        if len(piece) <= _LONGEST:
            if len(self) >= _MOST_ENTRIES:
                self._older = self.copy()
                self.clear()
            self[piece] = found
        return found


def _crc32(piece: str) -> bytes:
    return zlib.crc32(piece.lower().encode("utf-8", "replace")).to_bytes(8, sys.byteorder)
