"""The logistic function. Private to the routers room."""

from __future__ import annotations

import numpy as np

from prefroute.types import FloatArray

__all__ = ["sigmoid"]


def sigmoid(x: FloatArray) -> FloatArray:
    """1 / (1 + exp(-x)), without overflow."""
    e = np.exp(-np.abs(x))
    value: FloatArray = np.where(x >= 0, 1 / (1 + e), e / (1 + e))
    return value
