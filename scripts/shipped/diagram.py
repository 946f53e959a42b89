"""The reliability diagram of the shipped router, a small SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.style import context

from prefroute.plot import COLOURS

__all__ = ["LEAST", "save_diagram"]

LEAST = 20
"""Questions of a bin that is drawn: fewer say nothing."""


def save_diagram(parts: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Mean label against mean win rate, a line for each benchmark; dots are as large as their bins.

    Args:
        parts: `held_out` of the figures.
        path: An .svg file.
    """
    with context({"svg.hashsalt": "prefroute", "svg.fonttype": "none"}):  # the same bytes for the same figures
        picture = Figure(figsize=(5.0, 4.6), layout="constrained")
        FigureCanvasAgg(picture)
        axes = picture.add_subplot()
        axes.plot([0, 1], [0, 1], color="#888888", linestyle=":", label="calibrated")
        for colour, part in zip(COLOURS, parts, strict=False):
            bins = [point for point in part["calibration"]["bins"] if point["n"] >= LEAST]
            x, y = ([point[key] for point in bins] for key in ("predicted", "observed"))
            label = f"{part['benchmark']} (ECE {part['calibration']['ece']:.3f})"
            axes.plot(x, y, color=colour, linewidth=1.5, label=label)
            axes.scatter(x, y, s=[8 + 200 * point["n"] / part["n"] for point in bins], color=colour, alpha=0.6)
        axes.set_xlim(0.3, 0.85)
        axes.set_ylim(0.3, 0.85)
        axes.set_xlabel("predicted win rate of the strong model")
        axes.set_ylabel("observed, ties half")
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8, frameon=False, loc="upper left")
        picture.savefig(path, format="svg", metadata={"Date": None})
