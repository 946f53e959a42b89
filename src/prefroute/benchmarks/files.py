"""Finding a benchmark's files, and turning columns into outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from prefroute.errors import DataError, nearest
from prefroute.types import FloatArray

__all__ = ["first_existing", "observed_pair", "pivot"]


def first_existing(name: str, data_dir: Path, candidates: Sequence[str], how: str) -> Path:
    """The first of the candidates that is there.

    Raises:
        DataError: If none is; the message says what was looked for and how to get it.
    """
    for candidate in candidates:
        path = data_dir / candidate
        if path.exists():
            return path
    looked = ", ".join(candidates)
    raise DataError(
        f"Benchmark {name}: its files are not in the data folder {str(data_dir)!r} (looked for {looked}). {how} "
        "Then name the folder with --data or PREFROUTE_DATA."
    )


def pivot(
    ids: npt.NDArray[Any], models: npt.NDArray[Any], values: FloatArray, order: npt.NDArray[Any]
) -> tuple[tuple[str, ...], FloatArray]:
    """Models (sorted) and the matrix of their values, one row for each id of `order`; NaN where there is none.

    Of several values of one id and model, the last that is not NaN stays.
    """
    names = tuple(sorted({str(model) for model in models}))
    row_of = {key: i for i, key in enumerate(order.tolist())}
    column_of = {name: i for i, name in enumerate(names)}
    table = np.full((len(order), len(names)), np.nan)
    rows = np.array([row_of.get(key, -1) for key in ids.tolist()])
    columns = np.array([column_of[str(model)] for model in models])
    kept = (rows >= 0) & ~np.isnan(values)
    table[rows[kept], columns[kept]] = values[kept]
    return names, table


def observed_pair(quality: FloatArray, models: tuple[str, ...], strong: str, weak: str) -> npt.NDArray[np.intp]:
    """The rows in which both models of the pair were observed.

    Raises:
        DataError: If there is none.
    """
    for name in (strong, weak):
        if name not in models:
            raise DataError(nearest(name, models, "model"))
    pair = quality[:, [models.index(strong), models.index(weak)]]
    rows = np.flatnonzero(~np.isnan(pair).any(axis=1))
    if not rows.size:
        raise DataError(f"No question has outcomes of both {strong!r} and {weak!r}. Choose another pair.")
    return rows
