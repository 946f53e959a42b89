"""The HTML report of an evaluation: one file, interactive curves, nothing fetched from anywhere.

Needs the extra `plot`: plotly.js is taken from the plotly wheel and written into the page.
"""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

from prefroute.errors import MissingExtraError
from prefroute.evaluate import Report, table
from prefroute.files import replacing
from prefroute.plot import COLOURS

__all__ = ["report_html", "save_report"]

_DASHES = {"random": "dot", "length": "dash", "oracle": "dashdot", "subject prior": "longdashdot"}

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5b6470; --line: #d9dee4; --page: #fff; --mark: #f4f6f8;
  --warn: #8a4b00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9aa4b1; --line: #333a44; --page: #14171c;
  --mark: #1d2229; --warn: #f0b46a; } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 84rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
ul { margin: 0; padding-left: 1.2rem; color: var(--soft) } .warnings li { color: var(--warn) }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric: tabular-nums }
th, td { padding: .4rem .5rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }
th { color: var(--soft); font-weight: 600 } th:first-child, td:first-child { text-align: left }
tr.router td { background: var(--mark) } tr.router td:first-child { font-weight: 600 }
.interval { color: var(--soft); font-size: .8rem; display: block }
#curves { height: 30rem; margin-top: 1rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; font-size: .88rem }
dt { color: var(--soft) } dd { margin: 0; overflow-wrap: anywhere }
"""

_SCRIPT = """
const dark = matchMedia("(prefers-color-scheme: dark)");
const draw = () => {
  const ink = dark.matches ? "#e6e9ee" : "#1b1f24", line = dark.matches ? "#333a44" : "#d9dee4";
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line };
  const figure = JSON.parse(document.getElementById("figure").textContent);
  Plotly.react("curves", figure.data, {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink }, hovermode: "x unified",
    margin: { l: 60, r: 20, t: 40, b: 50 }, legend: { title: { text: "APGR" } },
    hoverlabel: { bgcolor: dark.matches ? "#1d2229" : "#ffffff" },
    xaxis: { ...axis, title: { text: figure.x }, range: [0, 100], ticksuffix: "%" },
    yaxis: { ...axis, title: { text: figure.y } },
  }, { responsive: true, displaylogo: false });
};
draw(); dark.addEventListener("change", draw);
"""


def report_html(report: Report) -> str:
    """The page: title, facts, curves with bands, the table with intervals, warnings and provenance.

    Raises:
        MissingExtraError: If plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingExtraError("The HTML report", "plot") from error
    figure = json.dumps(_figure(report), allow_nan=False).replace("<", "\\u003c")  # no tag can end the script
    differences = f"<h2>Paired differences</h2>{_list(report.differences, 'facts')}" if report.differences else ""
    warnings = f"<h2>Warnings</h2>{_list(report.warnings, 'warnings')}" if report.warnings else ""
    provenance = "".join(
        f"<dt>{html.escape(key.replace('_', ' '))}</dt><dd>{html.escape(str(value))}</dd>"
        for key, value in report.details.items()
    )
    title = html.escape(report.title)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; \
style-src 'unsafe-inline'; img-src data: blob:">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{title}</h1>
{_list(report.facts, "facts")}
<div id="curves" role="img" aria-label="Quality against the share of calls to the strong model; the table has the \
figures"></div>
<h2>Figures, with 95% intervals</h2>
<div class="wide">{_table(report)}</div>
{differences}
{warnings}
<h2>Provenance</h2>
<dl>{provenance}</dl>
<script type="application/json" id="figure">{figure}</script>
<script>{get_plotlyjs()}</script>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def save_report(report: Report, path: Path) -> None:
    """Write the page to a file, whole or not at all.

    Raises:
        MissingExtraError: If plotly is not installed.
    """
    text = report_html(report)
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def _list(items: list[str], kind: str) -> str:
    return f'<ul class="{kind}">' + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>"


def _table(report: Report) -> str:
    head, *body = table(report.rows)
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    lines = []
    for row, texts in zip(report.rows, body, strict=True):
        shown = "".join(f"<td>{_cell(text)}</td>" for text in texts)
        lines.append(f'<tr class="{row["role"]}">{shown}</tr>')
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _cell(text: str) -> str:
    """A figure, and its interval on a second line."""
    value, bracket, rest = html.escape(text).partition(" [")
    return f'{value}<span class="interval">[{rest}</span>' if bracket else value


def _figure(report: Report) -> dict[str, Any]:
    """Plotly traces: one line a row, and one band a router that hides with its line."""
    rows = {row["router"]: row for row in report.rows}
    traces: list[dict[str, Any]] = []
    n_routers = 0
    for name, band in report.bands.items():
        is_router = rows[name]["role"] == "router"
        colour = COLOURS[n_routers % len(COLOURS)] if is_router else "#888888"
        n_routers += is_router
        if is_router:
            x = [round(100 * share, 2) for share in band.strong_share]
            edge: dict[str, Any] = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "legendgroup": name}
            edge["showlegend"] = False
            traces.append({**edge, "x": x, "y": _rounded(band.low)})
            fill = {"fill": "tonexty", "fillcolor": f"{colour}22"}
            traces.append({**edge, **fill, "x": x, "y": _rounded(band.high)})
        traces.append(
            {
                "x": _rounded(100 * band.curve.strong_share),
                "y": _rounded(band.curve.quality),
                "mode": "lines",
                "name": f"{html.escape(name)} ({rows[name]['apgr']:.3f})",
                "legendgroup": name,
                "line": {"color": colour, "width": 2.5 if is_router else 1.5, "dash": _DASHES.get(name, "solid")},
                "hovertemplate": "%{y:.2f}",
                # The oracle stretches the axis until routers look alike: one click on its name shows it.
                "visible": "legendonly" if name == "oracle" else True,
            }
        )
    first = report.rows[0]
    return {
        "data": traces,
        "x": f"calls to {html.escape(first['strong'])}",
        "y": f"quality ({html.escape(first['quality_unit'])})",
    }


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 4) for value in values]
