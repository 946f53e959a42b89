"""`prefroute data`: fetch public tables, look into tables, split them, and check one against another."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from prefroute.cli.fetch import fetch
from prefroute.cli.from_journal import from_journal
from prefroute.cli.opening import open_cached_embedder
from prefroute.cli.options import DataDir, JsonTo, read_config
from prefroute.cli.output import Bar, Output, table_of
from prefroute.cli.phrases import phrases
from prefroute.errors import ConfigError

__all__ = ["app"]

_FOUND = 1  # exit code of `data check` when it found something, like `diff` and `grep -L`

app = typer.Typer(help="Fetch tables of battles and outcomes, look into them, split them, check them.")
app.command("fetch")(fetch)
app.command("from-journal")(from_journal)
app.command("phrases")(phrases)

Table = Annotated[Path, typer.Argument(metavar="PATH", help="Battles or outcomes: Parquet, CSV or JSONL.")]


@app.command("inspect")
def inspect(path: Table, json_to: JsonTo = None) -> None:
    """Show what a table holds: rows, models, how they do, and what is odd.

    Example: prefroute data inspect battles.parquet
    """
    from rich.text import Text

    from prefroute.data import inspect as look

    output = Output(json_to)
    output.spare(path)
    found = look(path)
    output.result({"schema": 1, **found.to_json(), "format": found.schema})
    output.say(
        f"{found.name}: {found.rows:,} {found.table} (format {found.schema}), {len(found.models):,} models, "
        f"{found.duplicates:,} rows repeat a prompt, {found.missing_cells:,} cells are not observed"
    )
    is_battles = found.table == "battles"
    shown = table_of("model", "battles" if is_battles else "answers", *([] if is_battles else ["mean quality"]))
    for model, n in sorted(found.models.items(), key=lambda item: (-found.balance.get(item[0], 0), -item[1])):
        quality = [] if is_battles else [f"{found.balance[model]:.4f}" if model in found.balance else "-"]
        shown.add_row(Text(model), f"{n:,}", *quality)
    output.say(shown)
    if is_battles:
        output.say(", ".join(f"{name} {share:.1%}" for name, share in found.balance.items()))
    for note in found.warnings:
        output.say(f"Note: {note}")


@app.command("split")
def split(
    path: Table,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to make for the two parts.")],
    test_share: Annotated[float, typer.Option("--test-share", help="Share of distinct prompts for testing.")] = 0.2,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed gives another split.")] = 0,
    table_format: Annotated[str, typer.Option("--format", help="parquet, csv or jsonl.")] = "parquet",
    json_to: JsonTo = None,
) -> None:
    """Split a table by the hash of the prompt: duplicates never straddle, and more data moves no prompt across.

    Example: prefroute data split outcomes.parquet --test-share 0.2 --out split
    """
    from prefroute.data import load, split_by_hash, write_table

    output = Output(json_to)
    output.spare(path)
    if table_format not in ("parquet", "csv", "jsonl"):
        raise ConfigError(f"--format must be parquet, csv or jsonl, got {table_format!r}.")
    if out.exists():
        raise ConfigError(f"--out {str(out)!r} exists and is left alone. Choose another folder.")
    rows = load(path)
    is_test = split_by_hash(rows.prompts, test_share, seed)
    parts = {"train": rows.take(~is_test), "test": rows.take(is_test)}
    try:
        out.mkdir(parents=True)
    except OSError as exc:
        raise ConfigError(f"--out {str(out)!r} cannot be made: {exc.strerror}. Choose another folder.") from exc
    try:
        for name, part in parts.items():
            write_table(part, out / f"{name}.{table_format}")
    except BaseException:
        shutil.rmtree(out)  # half a split would be taken for a whole one
        raise
    sizes = {name: len(part) for name, part in parts.items()}
    output.result({"schema": 1, "path": str(out), "seed": seed, "test_share": test_share, "n": sizes})
    output.say(f"Wrote {sizes['train']:,} training rows and {sizes['test']:,} test rows to {out}.")


@app.command("check")
def check(
    path: Table,
    against: Annotated[
        str, typer.Option("--against", metavar="TEST", help="The test set: a benchmark's name or a table.")
    ],
    data_dir: DataDir = None,
    embedder: Annotated[
        str | None, typer.Option("--embedder", metavar="SPEC", help="Also compare embeddings (cosine >= 0.95).")
    ] = None,
    json_to: JsonTo = None,
) -> None:
    """Find test questions in training data: by text, question stem, n-grams, embedding. Exits 1 if there are any.

    Example: prefroute data check outcomes.parquet --against mmlu --data DIR
    """
    from prefroute.data import PromptKeys, contamination, load

    output = Output(json_to)
    output.spare(path, against)
    train = load(path).prompts
    test = _test_prompts(against, data_dir)
    vectors: list[Any] = [None, None]
    if embedder is not None:
        with Bar("Embedding") as bar:
            opened = open_cached_embedder(embedder, read_config(None), bar)
            vectors = [opened.encode(train), opened.encode(test)]
    found = contamination(test, PromptKeys.of(train), *vectors)
    output.result({"schema": 1, "n_train": len(train), "n_test": len(test), "found": found.counts})
    output.say(f"{against}: {found.summary()}")
    if found.any.any():
        raise typer.Exit(_FOUND)


def _test_prompts(test: str, data_dir: Path | None) -> list[str]:
    from prefroute.benchmarks import benchmarks, load_benchmark
    from prefroute.data import load
    from prefroute.settings import data_dir as default_data_dir

    if test in benchmarks:
        return list(load_benchmark(test, data_dir or default_data_dir()).outcomes.prompts)
    return list(load(Path(test)).prompts)
