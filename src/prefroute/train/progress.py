"""How a training says how far it is: `Progress` is called after every step, with a `Look` where losses were taken.

Knows neither torch nor a terminal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

__all__ = ["Look", "Progress", "on_all_rows"]


@dataclass(frozen=True, slots=True)
class Look:
    """The losses at one step.

    Attributes:
        train_loss: Mean since the look before; None before the first step.
        held_out_loss: Of the held-out rows; None where no row is held out.
        best_loss: The smallest held-out loss so far; None likewise.
    """

    train_loss: float | None
    held_out_loss: float | None
    best_loss: float | None

    def __str__(self) -> str:
        """The losses by name, for people.

        Example:
            >>> str(Look(train_loss=0.51, held_out_loss=0.625, best_loss=0.6))
            'train 0.5100  held-out 0.6250  best 0.6000'
        """
        named = {"train": self.train_loss, "held-out": self.held_out_loss, "best": self.best_loss}
        words = [f"{name} {value:.4f}" for name, value in named.items() if value is not None]
        return "  ".join(words if self.held_out_loss is not None else [*words, "on all rows"])


Progress: TypeAlias = Callable[[int, int, Look | None], None]
"""Called with (steps done, most steps, the look that was taken at this step, if any)."""


def on_all_rows(progress: Progress | None) -> Progress | None:
    """The same listener for a training that learns from the held-out rows, too: their loss says nothing there."""
    if progress is None:
        return None

    def told(done: int, most: int, look: Look | None) -> None:
        progress(done, most, look and replace(look, held_out_loss=None, best_loss=None))

    return told
