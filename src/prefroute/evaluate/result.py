"""What an evaluation hands back: rows, curves with bands, and where they come from; as JSON, Markdown or objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefroute.curve import Curve
from prefroute.evaluate.rows import Row
from prefroute.types import FloatArray

__all__ = ["Band", "Report", "figure", "table"]

COLUMNS = ("router", "APGR", "CPT50", "CPT80", "paper APGR", "vs random", "vs length")


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """A router's curve for drawing.

    Attributes:
        curve: At most 200 points of the exact curve, quality in the benchmark's unit.
        strong_share: Where the band is given, shape (g,).
        low: 2.5% percentile of quality over the resamples, shape (g,).
        high: 97.5% percentile, shape (g,).
    """

    curve: Curve
    strong_share: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Metrics with intervals, baselines, curves and provenance of one evaluation.

    Attributes:
        rows: One result row per entrant, baseline and reference (docs/reference/evaluate.md names the keys).
        bands: Row name -> curve, for the rows that have one.
        provenance: Data hash, seed, versions, commit, date, how intervals were made.
    """

    rows: Sequence[Row]
    bands: Mapping[str, Band]
    provenance: Mapping[str, Any]

    @property
    def title(self) -> str:
        """One line that names the benchmark, the protocol and the number of questions."""
        row = self.rows[0]
        return f"{row['benchmark']}, {row['protocol']}, {row['n']:,} questions"

    @property
    def facts(self) -> list[str]:
        """Sentences that a reader needs beside the numbers."""
        row = self.rows[0]
        unit = row["quality_unit"]
        strong = figure(row, "strong_quality", digits=2)
        weak = figure(row, "weak_quality", digits=2)
        said = [
            f"Strong {row['strong']}: {strong}; weak {row['weak']}: {weak} ({unit}).",
            f"{row['n']:,} questions evaluated, {row['n_left_out']:,} left out ({row['n_seen']:,} seen in training, "
            f"{row['n_left_out'] - row['n_seen']:,} by the benchmark's own rules)"
            + (f", routers trained on {row['train_n']:,} rows." if row["train_n"] is not None else "."),
            str(self.provenance["intervals"]),
            *(f"Note: {note}." for note in self.provenance["notes"]),
        ]
        if any(cell["role"] == "reference" for cell in self.rows):
            said.append("Reference rows use what a router may not see; they are not routers.")
        return said

    @property
    def details(self) -> dict[str, Any]:
        """The provenance without what `facts` says in words and what is not known."""
        told = ("intervals", "notes")
        return {key: value for key, value in self.provenance.items() if key not in told and value is not None}

    @property
    def differences(self) -> list[str]:
        """The paired APGR difference of each two routers, on the same resamples."""
        routers = [row for row in self.rows if row["role"] == "router"]
        said = []
        for i, row in enumerate(routers):
            for other in routers[i + 1 :]:
                cell = row["vs"][other["router"]]
                shown = _with_interval(cell["diff"], cell["low"], cell["high"], 3, signed=True)
                said.append(f"{row['router']} minus {other['router']}: APGR {shown}")
        return said

    @property
    def warnings(self) -> list[str]:
        """Every warning, with the row that it is about."""
        return [f"{row['router']}: {text}" for row in self.rows for text in row["warnings"]]

    def to_json(self) -> dict[str, Any]:
        """JSON values: {"schema": 1, "results": rows, "provenance": ...}; undefined figures are null."""
        return {"schema": 1, "results": list(self.rows), "provenance": dict(self.provenance)}

    def to_markdown(self) -> str:
        """The report as Markdown: facts, table, warnings, provenance."""
        head, *body = table(self.rows)
        lines = [f"## {self.title}", "", *(f"- {fact}" for fact in self.facts), ""]
        lines += [_markdown_row(head), _markdown_row(["---"] + ["---:"] * (len(head) - 1))]
        lines += [_markdown_row(cells) for cells in body]
        if self.differences:
            lines += ["", "Paired differences:", *(f"- {text}" for text in self.differences)]
        if self.warnings:
            lines += ["", "Warnings:", *(f"- {text}" for text in self.warnings)]
        shown = ", ".join(f"{key} {value}" for key, value in self.details.items())
        return "\n".join([*lines, "", f"Provenance: {shown}.", ""])


def figure(row: Row, name: str, digits: int = 3, signed: bool = False) -> str:
    """A figure of a row with its interval, for people; a dash where it has no meaning.

    Example:
        >>> figure({"apgr": 0.586, "apgr_low": 0.57, "apgr_high": 0.60}, "apgr")
        '0.586 [0.570, 0.600]'
    """
    return _with_interval(row[name], row[f"{name}_low"], row[f"{name}_high"], digits, signed)


def _with_interval(value: float | None, low: float | None, high: float | None, digits: int, signed: bool) -> str:
    if value is None:
        return "–"  # noqa: RUF001 - an en dash is what tables use for "none"
    style = f"{'+' if signed else ''}.{digits}f"
    if low is None or high is None or f"{low:{style}}" == f"{high:{style}}" == f"{value:{style}}":
        return f"{value:{style}}"
    return f"{value:{style}} [{low:{style}}, {high:{style}}]"


def table(rows: Sequence[Row]) -> list[list[str]]:
    """The rows as text cells, the heading first: what the terminal, Markdown and the page show.

    Columns for money and AIQ appear where any row has them. Text cells only; escaping is the caller's.
    """
    costs = any(row["cpt50_cost_usd"] is not None for row in rows)
    pools = any(row["aiq"] is not None for row in rows)
    head = [*COLUMNS, *(["USD/1k at CPT50", "USD/1k at CPT80"] if costs else []), *(["AIQ"] if pools else [])]
    body = []
    for row in rows:
        name = row["router"] if row["role"] != "reference" else f"{row['router']} (reference, not a router)"
        cells = [name, *(figure(row, metric) for metric in ("apgr", "cpt50", "cpt80", "paper_apgr"))]
        for other in ("vs_random", "vs_length"):
            cell = row[other] or {"diff": None, "low": None, "high": None}
            cells.append(_with_interval(cell["diff"], cell["low"], cell["high"], 3, signed=True))
        if costs:
            cells += [_per_thousand(row, metric) for metric in ("cpt50_cost_usd", "cpt80_cost_usd")]
        if pools:
            cells.append(figure(row, "aiq"))
        body.append(cells)
    return [head, *body]


def _per_thousand(row: Row, name: str) -> str:
    keys = (name, f"{name}_low", f"{name}_high")
    value, low, high = (None if row[key] is None else 1000 * row[key] for key in keys)
    return _with_interval(value, low, high, digits=2, signed=False)


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
