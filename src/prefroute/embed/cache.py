"""Vectors on disk, so that a text is embedded once: one SQLite file for each embedder.

SQLite, because two processes may write at once and a killed writer must leave the file readable. A row is keyed by
the SHA-256 of the exact text and carries a checksum; a damaged row counts as missing, and a damaged file is set aside
with a warning, since everything in it can be computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from prefroute.errors import ConfigError, DataError
from prefroute.types import Embedder

__all__ = ["CachedEmbedder"]

_logger = logging.getLogger(__name__)

_BUSY_S = 60.0
_KEYS_PER_QUERY = 500
_SCHEMA = "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL, crc INTEGER NOT NULL)"
_SELECT = "SELECT key, vector, crc FROM vectors WHERE key IN ({})"
_INSERT = "INSERT OR REPLACE INTO vectors (key, vector, crc) VALUES (?, ?, ?)"

_Vector = npt.NDArray[np.float32]


class CachedEmbedder:
    """An embedder that remembers on disk what it has embedded.

    Args:
        embedder: Computes the vectors that are not there yet.
        folder: Holds one file for each embedder's id; made where missing.
        progress: Called with (done, total) distinct missing texts, first with done = 0.
        chunk_size: Texts that are computed and saved at once.

    Attributes:
        id: The wrapped embedder's; so are `spec`, `dim` and `trained_on`.
        path: The file.

    Raises:
        ConfigError: If the folder cannot be made.
    """

    def __init__(
        self,
        embedder: Embedder,
        folder: Path,
        *,
        progress: Callable[[int, int], None] | None = None,
        chunk_size: int = 256,
    ) -> None:
        self.id = embedder.id
        self.spec = embedder.spec
        self.dim = embedder.dim
        self.trained_on = embedder.trained_on
        self._embedder = embedder
        self._progress = progress
        self._chunk_size = chunk_size
        name = re.sub(r"[^A-Za-z0-9@.-]+", "_", embedder.id)[:60]
        self.path = folder / f"{name}-{hashlib.sha256(embedder.id.encode()).hexdigest()[:12]}.sqlite"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise ConfigError(
                f"The cache folder {folder} cannot be made: {exc.strerror or exc}. Choose another with PREFROUTE_CACHE."
            ) from exc

    def encode(self, prompts: Sequence[str]) -> _Vector:
        """Vectors of the prompts, shape (n, d): exactly the float32 values that the embedder gave first.

        Raises:
            DataError: If the wrapped embedder returns another shape than it says, or NaN or infinity.
        """
        keys = [hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest() for prompt in prompts]
        row_of = {key: row for row, key in enumerate(keys)}  # a text that comes twice is looked up once
        found = self._read(list(row_of))
        missing = [key for key in row_of if key not in found]
        done = 0
        if missing and self._progress:
            self._progress(0, len(missing))
        for start in range(0, len(missing), self._chunk_size):
            chunk = missing[start : start + self._chunk_size]
            vectors = self._embedder.encode([prompts[row_of[key]] for key in chunk])
            if vectors.shape != (len(chunk), self.dim):
                raise DataError(
                    f"The embedder {self.id} returned shape {vectors.shape}, wanted {(len(chunk), self.dim)}."
                )
            if not np.isfinite(vectors).all():
                raise DataError(f"The embedder {self.id} returned NaN or infinity. Nothing of this batch was kept.")
            new = dict(zip(chunk, np.asarray(vectors, dtype=np.float32), strict=True))
            self._write(new)
            found |= new
            done += len(chunk)
            if self._progress:
                self._progress(done, len(missing))
        result = np.empty((len(keys), self.dim), dtype=np.float32)
        for row, key in enumerate(keys):
            result[row] = found[key]
        return result

    def _read(self, keys: list[bytes]) -> dict[bytes, _Vector]:
        found: dict[bytes, _Vector] = {}
        if not self.path.exists():
            return found
        try:
            with self._connection() as connection:
                for start in range(0, len(keys), _KEYS_PER_QUERY):
                    part = keys[start : start + _KEYS_PER_QUERY]
                    marks = ",".join("?" * len(part))
                    for key, blob, crc in connection.execute(_SELECT.format(marks), part):
                        if len(blob) == 4 * self.dim and zlib.crc32(blob) == crc:
                            found[key] = np.frombuffer(blob, dtype="<f4")
        except sqlite3.DatabaseError as exc:
            self._recover(exc, "read")
        return found

    def _write(self, vectors: dict[bytes, _Vector]) -> None:
        blobs = {key: vector.astype("<f4").tobytes() for key, vector in vectors.items()}
        try:
            with self._connection() as connection:
                # IMMEDIATE: two writers wait for each other here, where SQLite's busy timeout applies
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(_SCHEMA)
                connection.executemany(_INSERT, [(key, blob, zlib.crc32(blob)) for key, blob in blobs.items()])
                connection.execute("COMMIT")
        except sqlite3.DatabaseError as exc:
            self._recover(exc, "write")

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
        with contextlib.closing(connection):
            yield connection

    def _recover(self, exc: sqlite3.DatabaseError, what: str) -> None:
        """A cache that fails costs time, not the run: warn, and set a damaged file aside."""
        if isinstance(exc, sqlite3.OperationalError):
            # no table yet, locked for a minute, disk full, not writable: the file itself is sound
            if "no such table" not in str(exc):
                _logger.warning("Cannot %s the embedding cache %s (%s); going on without it.", what, self.path, exc)
            return
        aside = self.path.with_suffix(".corrupt")
        _logger.warning("The embedding cache %s is damaged (%s); moved to %s.", self.path, exc, aside.name)
        with contextlib.suppress(OSError):
            self.path.replace(aside)
            self.path.with_name(f"{self.path.name}-journal").unlink(missing_ok=True)
