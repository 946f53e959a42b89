"""What `mf` knows of a prompt: its embedding, and beside it its surface counts. Private to the routers room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prefroute.prompts import pieces
from prefroute.routers._surface import SURFACE_FEATURES, surface
from prefroute.routers.base import check_prompts, embed
from prefroute.types import Embedder, FloatArray

__all__ = ["PromptView"]

_LIMIT = 3.0  # standard deviations; beyond them a count says no more


@dataclass(frozen=True, slots=True, eq=False)
class PromptView:
    """How prompts become vectors; learned from training prompts, without labels.

    Attributes:
        scaling: Mean and standard deviation of the surface counts, shape (2, f); shape (0, f) leaves them out.
        unit: Whether embeddings are scaled to length one.
    """

    scaling: FloatArray
    unit: bool

    @classmethod
    def of(cls, prompts: Sequence[str], *, counts: bool, unit: bool) -> PromptView:
        """The view that these prompts suggest."""
        if not counts:
            return cls(np.zeros((0, len(SURFACE_FEATURES))), unit)
        values = _counts(prompts)
        spread = values.std(axis=0)
        return cls(np.stack([values.mean(axis=0), np.where(spread > 1e-9, spread, 1.0)]), unit)

    def width(self, embedder: Embedder) -> int:
        """Length of a vector, d."""
        return embedder.dim + (self.scaling.shape[1] if len(self.scaling) else 0)

    def vectors(self, embedder: Embedder, prompts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embedding, then standardised counts with rows of length about one, shape (n, d)."""
        embedded = embed(embedder, check_prompts(prompts), unit=self.unit)
        if not len(self.scaling):
            return embedded
        mean, spread = self.scaling
        counts = np.clip((_counts(prompts) - mean) / spread, -_LIMIT, _LIMIT) / len(mean) ** 0.5
        return np.hstack([embedded, counts.astype(np.float32)])


def _counts(prompts: Sequence[str]) -> FloatArray:
    """Surface counts, shape (n, f)."""
    return surface(prompts, [len(pieces(prompt)) for prompt in prompts])
