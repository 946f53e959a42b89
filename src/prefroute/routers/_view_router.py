"""What `linear` and `experts` share: their parameters. Private to the routers room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from prefroute.data import prompt_folds
from prefroute.errors import ConfigError
from prefroute.routers._views import dealt
from prefroute.routers.base import Router
from prefroute.types import Battles, Embedder, IndexArray, Mixture, Outcomes

__all__ = ["ViewRouter"]


class ViewRouter(Router):
    """A router with linear heads on the three views of a prompt (`prefroute.routers._views`).

    Args:
        strong: Name of the strong model.
        weak: Name of the weak model.
        embedder: Gives the embedding view.
        ngrams: Longest word n-gram of the text view, 1 to 5.
        bits: n-grams are hashed into `2**bits` buckets, 8 to 24.
        folds: Folds of the inner cross-validation, 2 to 100.
        seed: Draws the folds and the landmarks of the kernel.
    """

    uses_embedder: ClassVar[bool] = True
    learns_from: ClassVar[tuple[type[Battles | Outcomes | Mixture], ...]] = (Battles, Outcomes, Mixture)

    def __init__(
        self,
        strong: str,
        weak: str,
        embedder: Embedder,
        *,
        ngrams: int = 2,
        bits: int = 16,
        folds: int = 10,
        seed: int = 0,
    ) -> None:
        self.strong = strong
        self.weak = weak
        self.embedder = embedder
        self.ngrams = ngrams
        self.bits = bits
        self.folds = folds
        self.seed = seed

    def _check_parameters(self) -> None:
        for name, low, high in (("ngrams", 1, 5), ("bits", 8, 24), ("folds", 2, 100)):
            value = getattr(self, name)
            if not (isinstance(value, int) and low <= value <= high):
                raise ConfigError(f"`{name}` must be a whole number from {low} to {high}, got {value!r}.")

    def _inner_folds(self, prompts: Sequence[str]) -> IndexArray:
        """Folds with duplicates together; rows alternate where there are too few different prompts for folds."""
        return dealt(prompt_folds(prompts, self.folds, self.seed))
