"""Pictures of call-performance curves, as PNG or SVG files. Needs the extra `plot` (matplotlib)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefroute.errors import ConfigError, MissingExtraError
from prefroute.evaluate import Report
from prefroute.files import replacing

__all__ = ["COLOURS", "save_plot"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#8c564b")
"""Line colours of routers, told apart by colour-blind readers (Okabe and Ito), reused after eight."""

_QUIET: Mapping[str, dict[str, Any]] = {
    "random": {"color": "#888888", "linestyle": ":"},
    "length": {"color": "#666666", "linestyle": "--"},
    "oracle": {"color": "#aaaaaa", "linestyle": "-."},
    "subject prior": {"color": "#999999", "linestyle": (0, (5, 1, 1, 1))},
}


def save_plot(report: Report, path: Path) -> None:
    """Draw the report's curves, with the 95% band of each router, into a .png or .svg file.

    Args:
        report: What to draw.
        path: Where to; its ending says the format. Written whole or not at all.

    Raises:
        ConfigError: If the ending is neither .png nor .svg.
        MissingExtraError: If matplotlib is not installed.
    """
    form = path.suffix.lower().removeprefix(".")
    if form not in ("png", "svg"):
        raise ConfigError(f"A plot is a .png or .svg file, got {path.name!r}. Change the ending.")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("Plotting", "plot") from error
    picture = Figure(figsize=(7.5, 5.0), layout="constrained")
    FigureCanvasAgg(picture)
    axes = picture.add_subplot()
    row = report.rows[0]
    labels = {each["router"]: each for each in report.rows}
    n_routers = 0
    for name, band in report.bands.items():
        score = labels[name]["apgr"]
        style = _QUIET.get(name, {"color": COLOURS[n_routers % len(COLOURS)], "linewidth": 2})
        x, y = 100 * band.curve.strong_share, band.curve.quality
        axes.plot(x, y, label=f"{name} ({score:.3f})", **style)
        if name not in _QUIET:
            axes.fill_between(100 * band.strong_share, band.low, band.high, color=style["color"], alpha=0.12, lw=0)
            n_routers += 1
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"calls to {row['strong']} (%)")
    axes.set_ylabel(f"quality ({row['quality_unit']})")
    axes.set_title(report.title, fontsize=11)
    axes.grid(alpha=0.25)
    axes.legend(title="APGR", fontsize=8, frameon=False)
    with replacing(path) as beside:
        picture.savefig(beside, format=form, dpi=150, metadata={"Date": None} if form == "svg" else None)
