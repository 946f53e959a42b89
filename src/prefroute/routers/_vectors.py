"""Unit vectors held in four, two or one byte a number, and their cosines with queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from prefroute.routers.base import embed
from prefroute.types import Embedder

__all__ = ["STORAGES", "cosines", "packed_vectors", "row_scale"]

STORAGES = ("float32", "float16", "int8")

_EMBED_ROWS = 4096  # at once: all of them would be held twice, as they come and as they are kept
_BLOCK_ROWS = 256  # converted to float32 at once: they stay in the cache, several times faster for a few queries
_BATCH_ROWS = 2048  # the same for many queries, where the matrix product takes the time and wants larger blocks
_BATCH_QUERIES = 16
_HALF_SHIFT = np.float32(2.0**112)  # between the exponents' zeros of float16 and float32

Float32Array = npt.NDArray[np.float32]


def packed_vectors(embedder: Embedder, prompts: Sequence[str], storage: str) -> npt.NDArray[Any]:
    """The prompts' unit vectors in the wanted type; `int8` rows have 127 as their largest number, shape (n, d)."""
    packed = np.empty((len(prompts), embedder.dim), dtype=storage)
    for begin in range(0, len(prompts), _EMBED_ROWS):
        rows = embed(embedder, prompts[begin : begin + _EMBED_ROWS])
        if storage == "int8":
            largest = np.abs(rows).max(axis=1, initial=0.0, keepdims=True)
            rows = np.rint(rows * (127 / np.where(largest > 0, largest, 1.0)))
        packed[begin : begin + _EMBED_ROWS] = rows
    return packed


def row_scale(packed: npt.NDArray[Any]) -> Float32Array:
    """What each packed row is multiplied by to be of length one again; 0 for a row of zeros, shape (n,)."""
    scale = np.empty(len(packed), dtype=np.float32)
    for begin in range(0, len(packed), _BLOCK_ROWS):
        rows = packed[begin : begin + _BLOCK_ROWS].astype(np.float32)
        norms = np.sqrt(np.einsum("nd,nd->n", rows, rows))
        scale[begin : begin + _BLOCK_ROWS] = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    return scale


def cosines(packed: npt.NDArray[Any], scale: Float32Array, queries: Float32Array) -> Float32Array:
    """Cosine of every stored row with every query of length one, shape (n, q)."""
    columns = np.ascontiguousarray(queries.T)  # (d, q)
    if packed.dtype == np.float32:
        return np.asarray(packed @ columns, dtype=np.float32)
    if packed.dtype == np.float16:
        columns *= _HALF_SHIFT
    out = np.empty((len(packed), len(queries)), dtype=np.float32)
    size = _BLOCK_ROWS if len(queries) < _BATCH_QUERIES else _BATCH_ROWS
    buffer = np.empty((size, packed.shape[1]), dtype=np.float32)
    for begin in range(0, len(packed), size):
        rows = packed[begin : begin + size]
        block = buffer[: len(rows)]
        if packed.dtype == np.float16:
            _widen(rows, block)
        else:
            np.copyto(block, rows)
        np.matmul(block, columns, out=out[begin : begin + size])
    out *= scale[:, None]
    return out


def _widen(half: npt.NDArray[np.float16], out: Float32Array) -> None:
    """Write float16 numbers as float32, divided by `_HALF_SHIFT`: five times faster than NumPy's own conversion."""
    bits = out.view(np.int32)
    np.copyto(bits, half.view(np.int16))  # sign extended: the sign fills the upper half
    bits <<= 13  # the ten bits of the mantissa to the top of twenty-three
    bits &= np.int32(-0x70002000)  # 0x8FFFE000: one sign bit, then exponent and mantissa
