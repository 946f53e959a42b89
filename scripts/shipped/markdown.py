"""Figures and tables in Markdown, for the page and the card."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["NONE", "TITLES", "figure", "table"]

TITLES = {
    "mmlu": "MMLU",
    "gsm8k": "GSM8K",
    "routerbench": "RouterBench",
    "mmlu-pro": "MMLU-Pro",
    "mt-bench": "MT-Bench",
}
NONE = "–"  # noqa: RUF001 - an en dash is what tables use for "none"


def figure(values: Sequence[float | None], *, percent: bool = False, signed: bool = False, digits: int = 3) -> str:
    """A figure with its interval; no interval where it is undefined."""
    scale, digits = (100, 1) if percent else (1, digits)
    shown = [NONE if value is None else f"{scale * value:{'+' if signed else ''}.{digits}f}" for value in values]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"


def table(lines: Sequence[Sequence[str]]) -> str:
    """The first line is the head."""
    head, *body = lines
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *body))
