"""`prefroute evaluate`: routers on question sets, beside the baselines, with intervals."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefroute.cli.opening import is_kind, make_router, open_cached_embedder, open_router
from prefroute.cli.options import ConfigFile, DataDir, EmbedderSpec, JsonTo, Params, Seed, parse_params, read_config
from prefroute.cli.output import Bar, Output, check_extra, write_text
from prefroute.errors import ConfigError

if TYPE_CHECKING:
    from prefroute.benchmarks import Benchmark
    from prefroute.checkpoint import Checkpoint
    from prefroute.evaluate import Entrant, Protocol, Report
    from prefroute.routers import Router
    from prefroute.settings.model import EvaluateSettings, Settings
    from prefroute.types import Embedder

__all__ = ["evaluate"]

_DROPPED_FIRST = ("paper APGR", "USD/1k at CPT50", "USD/1k at CPT80", "vs random", "AIQ", "CPT80")

Routers = Annotated[
    list[str], typer.Argument(metavar="ROUTER...", help="A checkpoint folder, 'default', or a kind such as knn.")
]
Benchmarks = Annotated[
    list[str] | None,
    typer.Option("--benchmark", metavar="NAME", help="mmlu, gsm8k, mt-bench ... or a table. Repeatable."),
]
TrainOnPath = Annotated[
    Path | None, typer.Option("--train-on", metavar="PATH", help="Train kinds on this table of battles or outcomes.")
]
GoldN = Annotated[int | None, typer.Option("--gold", min=1, metavar="N", help="Train kinds on N of the questions.")]
FoldsK = Annotated[int | None, typer.Option("--folds", min=2, metavar="K", help="Cross-validate kinds in K folds.")]
Strong = Annotated[
    str | None,
    typer.Option("--strong", metavar="MODEL", help="Strong model of a table of your own; unsaid: the routers'."),
]
Weak = Annotated[
    str | None, typer.Option("--weak", metavar="MODEL", help="Weak model of a table of your own; unsaid: the routers'.")
]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page with interactive curves.")]
Plot = Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw the curves: .png or .svg.")]
Markdown = Annotated[Path | None, typer.Option("--markdown", metavar="FILE", help="Write the tables as Markdown.")]


def evaluate(
    router: Routers,
    benchmark: Benchmarks = None,
    data: DataDir = None,
    embedder: EmbedderSpec = None,
    train_on: TrainOnPath = None,
    gold: GoldN = None,
    folds: FoldsK = None,
    seed: Seed = None,
    params: Params = None,
    strong: Strong = None,
    weak: Weak = None,
    html: Html = None,
    plot: Plot = None,
    markdown: Markdown = None,
    config: ConfigFile = None,
    json_to: JsonTo = None,
) -> None:
    """Measure routers on question sets, beside random, length and the oracle, with 95% intervals on every figure.

    Example: prefroute evaluate default --benchmark mmlu --data DIR

    Example: prefroute evaluate knn linear --benchmark mmlu --data DIR --gold 1531 --seed 0 --json -
    """
    from prefroute.benchmarks import load_benchmark
    from prefroute.evaluate import evaluate as run
    from prefroute.settings import data_dir as default_data_dir

    output = Output(json_to, {"--html": html, "--plot": plot, "--markdown": markdown})
    output.spare(config, train_on, *router, *(benchmark or ()))
    _check_pictures(html, plot)
    settings = read_config(config)
    chosen_seed = settings.seed if seed is None else seed
    if data is not None and str(data) in ("", "."):
        raise ConfigError("--data is empty or '.': name the folder that holds routellm_benchmarks/, or leave it out.")
    folder = data or settings.data_dir or default_data_dir()
    _check_protocol(train_on, gold, folds)
    names = benchmark or settings.evaluate.benchmarks
    opened = {word: open_router(word) for word in router if not is_kind(word)}
    pair = _pair_of(opened.values())
    _check_names(names)
    sets = [load_benchmark(name, folder, strong=strong, weak=weak, usual=pair) for name in names]
    with Bar("Evaluating") as bar:
        entrants = _entrants(router, opened, embedder, settings, parse_params(params), bar)
        reports = [
            run(
                entrants,
                questions,
                protocol=_protocol(train_on, gold, folds, settings.evaluate, questions),
                seed=chosen_seed,
                n_boot=settings.evaluate.n_boot,
                date=datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
                progress=bar,
            )
            for questions in sets
        ]
    _write(reports, output, html, plot, markdown)


def _check_pictures(html: Path | None, plot: Path | None) -> None:
    """Refuse a page or picture that cannot be drawn.

    Raises:
        ConfigError: If the picture's format is not known.
        MissingExtraError: If the library that draws is not installed.
    """
    if plot is not None and plot.suffix.lower() not in (".png", ".svg"):
        raise ConfigError(f"--plot draws a .png or .svg file, got {plot.name!r}. Change the ending.")
    check_extra("--html", html, "plotly")
    check_extra("--plot", plot, "matplotlib")


def _check_protocol(train_on: Path | None, gold: int | None, folds: int | None) -> None:
    """Refuse two ways to train at once.

    Raises:
        ConfigError: If more than one of the options is given.
    """
    if sum(value is not None for value in (train_on, gold, folds)) > 1:
        raise ConfigError("Give one of --train-on, --gold and --folds: each says how kinds are trained.")


def _check_names(benchmarks: Sequence[str]) -> None:
    """Refuse two question sets of one name: pictures, pages and the provenance in the JSON go by it.

    Raises:
        ConfigError: If two names or paths end alike.
    """
    names = [Path(name).stem for name in benchmarks]
    for i, name in enumerate(names):
        if (first := names.index(name)) < i:
            raise ConfigError(
                f"--benchmark {benchmarks[first]!r} and {benchmarks[i]!r} are both called {name!r} in the report. "
                "Rename a file, or evaluate them one by one."
            )


def _protocol(
    train_on: Path | None, gold: int | None, folds: int | None, settings: EvaluateSettings, benchmark: Benchmark
) -> Protocol:
    """How kinds are trained for this benchmark; a table that calls its pair strong and weak means this one's."""
    from prefroute.data import load
    from prefroute.evaluate import AsIs, Folds, Gold, TrainOn

    if train_on is not None:
        return TrainOn(load(train_on, strong=benchmark.strong, weak=benchmark.weak), train_on.name)
    if gold is None and folds is None:
        gold, folds = settings.gold, settings.folds
    if gold is not None:
        return Gold(gold)
    return AsIs() if folds is None else Folds(folds)


def _pair_of(checkpoints: Iterable[Checkpoint]) -> tuple[str, str] | None:
    """The pair that all of them were trained for, strong first; None where there is no such pair."""
    pairs = {(checkpoint.router.strong, checkpoint.router.weak) for checkpoint in checkpoints}
    return pairs.pop() if len(pairs) == 1 else None


def _entrants(
    words: Sequence[str],
    opened: Mapping[str, Checkpoint],
    embedder_spec: str | None,
    settings: Settings,
    params: dict[str, Any],
    bar: Bar,
) -> list[Entrant]:
    from prefroute.evaluate import Fitted, Kind
    from prefroute.routers import routers

    kinds = [word for word in words if word not in opened]
    embedder = None
    if any(routers.get(kind).uses_embedder for kind in kinds):
        embedder = open_cached_embedder(embedder_spec or settings.embedder, settings, bar)
    if params and len(kinds) != 1:
        raise ConfigError(f"--param is for one kind of router, got {len(kinds)} kinds. Evaluate them one by one.")
    entrants: list[Entrant] = []
    for word in words:
        if checkpoint := opened.get(word):
            entrants.append(Fitted(word, checkpoint.router, checkpoint.training))
        else:
            entrants.append(Kind(word, _maker(word, embedder, params)))
    return entrants


def _maker(kind: str, embedder: Embedder | None, params: dict[str, Any]) -> Any:
    def make(strong: str, weak: str, seed: int) -> Router:
        return make_router(kind, strong, weak, embedder=embedder, seed=seed, params=params)

    return make


def _write(
    reports: Sequence[Report], output: Output, html: Path | None, plot: Path | None, markdown: Path | None
) -> None:
    """The reports where they were asked for, and always for people."""
    for report in reports:
        _show(report, output)
        benchmark = report.rows[0]["benchmark"] if len(reports) > 1 else None
        if plot is not None:
            from prefroute.plot import save_plot

            save_plot(report, _for_one(plot, benchmark))
        if html is not None:
            from prefroute.report import save_report

            save_report(report, _for_one(html, benchmark))
    if markdown is not None:
        write_text(markdown, "\n".join(report.to_markdown() for report in reports))
    output.result(
        {
            "schema": 1,
            "results": [row for report in reports for row in report.rows],
            "provenance": {report.rows[0]["benchmark"]: dict(report.provenance) for report in reports},
        }
    )


def _for_one(path: Path, benchmark: str | None) -> Path:
    """Where one benchmark's picture or page goes: `curve-mmlu.png` where several share `curve.png`."""
    return path if benchmark is None else path.with_stem(f"{path.stem}-{Path(benchmark).stem}")


def _fitting(cells: list[list[str]], width: int) -> list[list[str]]:
    """The table without the columns, from the least needed, that do not fit; figures are never cut.

    What was left out stands in --json, --markdown and --html.
    """
    dropped: list[str] = []
    while _breadth(cells) > width and len(dropped) < len(_DROPPED_FIRST):
        dropped.append(_DROPPED_FIRST[len(dropped)])
        kept = [i for i, name in enumerate(cells[0]) if name not in dropped]
        cells = [[row[i] for i in kept] for row in cells]
    return cells


def _lines(cell: str) -> str:
    """The cell with the interval under its figure."""
    return cell.replace(" [", "\n[")


def _breadth(cells: list[list[str]]) -> int:
    """Columns of the terminal that the table takes, with two between columns."""
    parts = (
        max(len(part) for cell in column for part in _lines(cell).split("\n")) + 3
        for column in zip(*cells, strict=True)
    )
    return sum(parts)


def _show(report: Report, output: Output) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from prefroute.evaluate import table

    head, *body = _fitting(table(report.rows), output.width)
    shown = Table(title=report.title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(head):
        shown.add_column(name, justify="right" if i else "left", no_wrap=True)
    for cells in body:
        shown.add_row(*(Text(_lines(cell)) for cell in cells))
    output.say(shown)
    for line in (*report.facts, *report.differences, *(f"Warning: {text}" for text in report.warnings)):
        output.say(Text(line))
    output.say("")
