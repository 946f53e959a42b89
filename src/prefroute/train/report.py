"""The report of one training: loss curves, held-out calibration and the evaluation's rows, as JSON and one HTML page.

The door is `Calibration.of` and `TrainingReport`, then `save_training_report`. The page fetches nothing and needs no
extra: its two figures are drawn as SVG.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prefroute.errors import DataError
from prefroute.files import replacing
from prefroute.train.calibration import Bin, brier_score, expected_calibration_error, reliability
from prefroute.types import FloatArray

__all__ = ["Calibration", "HeldOut", "TrainingReport", "save_training_report", "training_html"]

_WIDTH, _HEIGHT, _MARGIN = 520, 300, 44
_TRAIN, _HELD_OUT = "#0072b2", "#d55e00"
_EFFECT = ("scored_on", "left_out", "n", "train_n", "apgr", "apgr_low", "apgr_high", "adds", "adds_low", "adds_high")
_SIMILARITY = ("scored_on", "source", "similarity", "n", "source_n")
_STYLE = """
:root { color-scheme: light dark }
body { margin: 0 auto; padding: 2rem 1.5rem; max-width: 72rem; font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #8886; text-align: right }
th:first-child, td:first-child { text-align: left }
svg { max-width: 100%; height: auto } svg text { fill: currentColor; font: 12px system-ui, sans-serif }
.axis { stroke: currentColor; stroke-opacity: .4; fill: none }
"""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Held-out calibration before and after temperature scaling.

    The temperature was fitted on these same held-out rows, one number for all of them: the error after it is a little
    optimistic, and the error before it is not.

    Attributes:
        n: Held-out rows.
        temperature: What logits are divided by; 1 leaves them as they are.
        ece_before: Expected calibration error of the raw scores, in [0, 1].
        ece_after: The same of the scaled scores.
        brier_before: Brier score of the raw scores, in [0, 1].
        brier_after: The same of the scaled scores.
        brier_prior: Brier score of predicting the held-out mean everywhere: what a useful router is below.
        bins_before: Reliability diagram of the raw scores.
        bins_after: The same of the scaled scores.
    """

    n: int
    temperature: float
    ece_before: float
    ece_after: float
    brier_before: float
    brier_after: float
    brier_prior: float
    bins_before: tuple[Bin, ...]
    bins_after: tuple[Bin, ...]

    @classmethod
    def of(cls, before: FloatArray, after: FloatArray, observed: FloatArray, temperature: float) -> Calibration:
        """Calibration of held-out win rates, shape (n,) each, against labels in [0, 1].

        Raises:
            DataError: If the shapes differ or there is no row.
        """
        bins = tuple(reliability(before, observed)), tuple(reliability(after, observed))
        return cls(
            n=len(observed),
            temperature=temperature,
            ece_before=expected_calibration_error(before, observed),
            ece_after=expected_calibration_error(after, observed),
            brier_before=brier_score(before, observed),
            brier_after=brier_score(after, observed),
            brier_prior=float(observed.var()),
            bins_before=bins[0],
            bins_after=bins[1],
        )


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Held-out rows that compare strong with weak, scored by what had not learned from them.

    Attributes:
        prompts: n strings.
        win_rate: Their scores, temperature and all, in [0, 1], shape (n,).
        win: P(strong preferred to weak) as observed, ties half, in [0, 1], shape (n,).
        is_learned_later: Whether the router that is kept was trained once more, on these rows too.
    """

    prompts: Sequence[str]
    win_rate: FloatArray
    win: FloatArray
    is_learned_later: bool = False


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What one training did.

    Attributes:
        kind: The router's kind.
        params: Its parameters.
        n_train: Rows that were learned from.
        n_held_out: Rows that were kept for stopping and calibration.
        history: One mapping for each time that losses were taken: `step`, `train_loss`, `held_out_loss`; a loss may
            be missing or None.
        calibration: On the held-out rows; None for a kind that has none.
        evaluation: On the held-out rows: rows of the JSON of `evaluate`; empty where they cannot tell.
        leave_one_out: What each source of a mixture adds, rows of `prefroute.evaluate.SourceEffects`; empty where it
            was not asked for.
        similarity: Of each set of questions with each source, from the same place.
    """

    kind: str
    params: Mapping[str, Any]
    n_train: int
    n_held_out: int
    history: Sequence[Mapping[str, Any]]
    calibration: Calibration | None = None
    evaluation: Sequence[Mapping[str, Any]] = field(default=())
    leave_one_out: Sequence[Mapping[str, Any]] = field(default=())
    similarity: Sequence[Mapping[str, Any]] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON values; `schema` is the version of this layout."""
        return {
            "schema": 1,
            "kind": self.kind,
            "params": dict(self.params),
            "n_train": self.n_train,
            "n_held_out": self.n_held_out,
            "history": [dict(entry) for entry in self.history],
            "calibration": None if self.calibration is None else asdict(self.calibration),
            "evaluation": [dict(row) for row in self.evaluation],
            "leave_one_out": [dict(row) for row in self.leave_one_out],
            "similarity": [dict(row) for row in self.similarity],
        }


def save_training_report(report: TrainingReport, folder: Path) -> tuple[Path, Path]:
    """Write `training.json` and `training.html` into a folder, each whole or not at all; returns their paths.

    Raises:
        DataError: If the report holds NaN or infinity, or the folder cannot be written.
    """
    try:
        text = json.dumps(report.to_json(), indent=1, allow_nan=False) + "\n"
    except ValueError as exc:
        raise DataError(f"The training report must hold finite numbers only ({exc}). Train again.") from exc
    paths = folder / "training.json", folder / "training.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in zip(paths, (text, training_html(report)), strict=True):
            with replacing(path) as beside:
                beside.write_text(content, encoding="utf-8")
    except OSError as exc:
        raise DataError(f"Could not write the training report to {str(folder)!r}: {exc.strerror or exc}.") from exc
    return paths


def training_html(report: TrainingReport) -> str:
    """The page: facts, loss curves, reliability diagram and the evaluation's table."""
    title = html.escape(f"Training of a {report.kind} router")
    parts = [
        f"<h1>{title}</h1>",
        f"<p>{report.n_train:,} rows learned from, {report.n_held_out:,} held out.</p>",
        "<h2>Loss</h2>",
        _loss_figure(report.history),
    ]
    if report.calibration is not None:
        parts += ["<h2>Held-out calibration</h2>", _calibration_part(report.calibration)]
    if report.evaluation:
        parts += ["<h2>Evaluation on the held-out rows</h2>", _evaluation_part(report.evaluation)]
    if report.leave_one_out:
        parts += ["<h2>What the left-out source adds</h2>", _rows_table(_EFFECT, report.leave_one_out)]
    if report.similarity:
        parts += ["<h2>Similarity of questions and sources</h2>", _rows_table(_SIMILARITY, report.similarity)]
    parts += ["<h2>Parameters</h2>", _table(["parameter", "value"], report.params.items())]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
{"".join(parts)}
</body>
</html>
"""


def _loss_figure(history: Sequence[Mapping[str, Any]]) -> str:
    lines = {
        name: [(float(entry["step"]), float(entry[name])) for entry in history if entry.get(name) is not None]
        for name in ("train_loss", "held_out_loss")
    }
    points = [point for line in lines.values() for point in line]
    if not points:
        return "<p>No loss was recorded.</p>"
    x_range = min(x for x, _ in points), max(x for x, _ in points)
    y_range = min(y for _, y in points), max(y for _, y in points)
    drawn = [
        _line(lines["train_loss"], x_range, y_range, _TRAIN),
        _line(lines["held_out_loss"], x_range, y_range, _HELD_OUT),
    ]
    return _figure(drawn, x_range, y_range, ("step", "loss"), [("train", _TRAIN), ("held out", _HELD_OUT)])


def _calibration_part(calibration: Calibration) -> str:
    unit = (0.0, 1.0)
    before = [(point.predicted, point.observed) for point in calibration.bins_before]
    after = [(point.predicted, point.observed) for point in calibration.bins_after]
    drawn = [
        _line([(0.0, 0.0), (1.0, 1.0)], unit, unit, "#888888"),
        _line(before, unit, unit, _TRAIN),
        _line(after, unit, unit, _HELD_OUT),
    ]
    rows = [
        ("expected calibration error", f"{calibration.ece_before:.4f}", f"{calibration.ece_after:.4f}"),
        ("Brier score", f"{calibration.brier_before:.4f}", f"{calibration.brier_after:.4f}"),
    ]
    names = [("before", _TRAIN), ("after", _HELD_OUT)]
    note = (
        f"<p>Temperature {calibration.temperature:.3f}, fitted on these {calibration.n:,} rows. The Brier score of "
        f"predicting the mean everywhere is {calibration.brier_prior:.4f}.</p>"
    )
    axes = ("predicted win rate", "observed")
    return _figure(drawn, unit, unit, axes, names) + _table(["", "before", "after"], rows) + note


def _evaluation_part(rows: Sequence[Mapping[str, Any]]) -> str:
    head = ("router", "n", "APGR", "CPT50", "CPT80")
    body = [[row["router"], row["n"], *(_figure_cell(row, name.lower()) for name in head[2:])] for row in rows]
    warnings = [f"<p>{html.escape(text)}</p>" for row in rows for text in row["warnings"]]
    return _table(head, body) + "".join(warnings)


def _figure_cell(row: Mapping[str, Any], name: str) -> str:
    value, low, high = (_cell(row[key]) for key in (name, f"{name}_low", f"{name}_high"))
    return f"{value} [{low}, {high}]" if low and high and low != high else value


def _rows_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    return _table(columns, [[_cell(row.get(name)) for name in columns] for row in rows])


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    def line(cells: Sequence[Any], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    return "<table>" + line(head, "th") + "".join(line(row, "td") for row in rows) + "</table>"


def _line(
    points: Sequence[tuple[float, float]], x_range: tuple[float, float], y_range: tuple[float, float], colour: str
) -> str:
    """A polyline with a dot at each point, in the figure's own pixels."""
    placed = [
        (
            _MARGIN + _share(x, x_range) * (_WIDTH - 2 * _MARGIN),
            _HEIGHT - _MARGIN - _share(y, y_range) * (_HEIGHT - 2 * _MARGIN),
        )
        for x, y in points
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in placed)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>{dots}'


def _share(value: float, span: tuple[float, float]) -> float:
    low, high = span
    return (value - low) / (high - low) if high > low else 0.5


def _figure(
    drawn: Sequence[str],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    axes: tuple[str, str],
    names: Sequence[tuple[str, str]],
) -> str:
    bottom, right = _HEIGHT - _MARGIN, _WIDTH - _MARGIN
    texts = [
        f'<text x="{_MARGIN}" y="{bottom + 16}">{x_range[0]:g}</text>',
        f'<text x="{right}" y="{bottom + 16}" text-anchor="end">{x_range[1]:g}</text>',
        f'<text x="{_WIDTH / 2}" y="{bottom + 32}" text-anchor="middle">{axes[0]}</text>',
        f'<text x="{_MARGIN - 4}" y="{bottom}" text-anchor="end">{y_range[0]:.3g}</text>',
        f'<text x="{_MARGIN - 4}" y="{_MARGIN + 4}" text-anchor="end">{y_range[1]:.3g}</text>',
        f'<text x="{_MARGIN}" y="14">{axes[1]}</text>',
    ]
    texts += [
        f'<text x="{right - 80 * i}" y="14" text-anchor="end" style="fill:{colour}">{name}</text>'
        for i, (name, colour) in enumerate(names)
    ]
    frame = f'<path class="axis" d="M{_MARGIN} {_MARGIN}V{bottom}H{right}"/>'
    label = f"{axes[1]} against {axes[0]}"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" aria-label="{label}">'
        f"{frame}{''.join(drawn)}{''.join(texts)}</svg>"
    )
