"""`prefroute augment`: more battles, from graded answers or from a judge model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefroute.cli import judging
from prefroute.cli.options import JsonTo, Seed
from prefroute.cli.output import Output, table_of
from prefroute.errors import ConfigError

if TYPE_CHECKING:
    from prefroute.augment import Gold
    from prefroute.types import Outcomes

__all__ = ["app"]

app = typer.Typer(help="Make more battles: from graded answers, or with a judge model.")

OutFile = Annotated[
    Path, typer.Option("--out", metavar="FILE", help="Battles to write: .parquet, .csv or .jsonl; replaced.")
]


@app.command("gold")
def gold(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="Outcomes: Parquet, CSV or JSONL.")],
    out: OutFile,
    pairs: Annotated[
        list[str] | None,
        typer.Option("--pairs", metavar="A:B", help="Two models to compare. Repeatable. Default: all."),
    ] = None,
    balance: Annotated[
        str, typer.Option("--balance", help="Even out groups: tier (pairs of tiers), source, both or none.")
    ] = "both",
    source_column: Annotated[
        str | None,
        typer.Option("--source-column", metavar="NAME", help="Column that says where a row's `prompt` comes from."),
    ] = None,
    source_table: Annotated[
        Path | None, typer.Option("--source-table", metavar="PATH", help="Where that column stands, if not in TABLE.")
    ] = None,
    per_prompt: Annotated[
        int | None, typer.Option("--per-prompt", metavar="N", min=1, help="At most N battles of one prompt.")
    ] = None,
    seed: Seed = None,
    json_to: JsonTo = None,
) -> None:
    """Make battles from outcomes: each prompt that two models answered is a battle, ties kept.

    Example: prefroute augment gold outcomes.parquet --per-prompt 10 --out gold.parquet

    Example: prefroute augment gold outcomes.csv --pairs big:small --balance none --out gold.csv
    """
    from prefroute.augment import gold_battles
    from prefroute.data import load, write_table

    output = Output(json_to, {"--out": out})
    output.spare(table, source_table)
    outcomes = load(table, table="outcomes")
    made = gold_battles(
        outcomes,
        pairs=None if not pairs else [_pair(word, outcomes.models) for word in pairs],
        balance=balance,  # type: ignore[arg-type]  # checked there
        sources=_sources(source_table or table, outcomes, source_column),
        per_prompt=per_prompt,
        seed=seed or 0,
    )
    write_table(made.battles, out)
    output.result({"schema": 1, "path": str(out), "n": len(made.battles), "tiers": made.tiers, "groups": _groups(made)})
    _show_gold(output, made, out)


def _pair(word: str, models: Sequence[str]) -> tuple[str, str]:
    """The two names of `A:B`; a name may hold colons itself, so every place to cut is tried."""
    parts = word.split(":")
    cuts = [(":".join(parts[:i]), ":".join(parts[i:])) for i in range(1, len(parts))]
    if not cuts:
        raise ConfigError(f"--pairs must look like A:B, got {word!r}. Example: --pairs big:small")
    return next((cut for cut in cuts if set(cut) <= set(models)), cuts[0])


def _sources(table: Path, outcomes: Outcomes, column: str | None) -> list[str] | None:
    if column is None:
        return None
    from prefroute.data import read_columns

    found = read_columns(table, ["prompt", column])
    by_prompt: dict[str, str] = {}
    for prompt, source in zip(found["prompt"], found[column], strict=True):
        by_prompt.setdefault(prompt, str(source))
    missing = next((i for i, prompt in enumerate(outcomes.prompts) if prompt not in by_prompt), None)
    if missing is not None:
        raise ConfigError(
            f"--source-column {column!r}: prompt {missing + 1} is not in the column `prompt` as it is read. "
            "Name a table whose `prompt` is plain text (--source-table), or leave the option out."
        )
    return [by_prompt[prompt] for prompt in outcomes.prompts]


def _groups(made: Gold) -> list[dict[str, Any]]:
    return [
        {
            "tiers": [group.tier_a, group.tier_b],
            "source": group.source,
            "n_possible": group.n_possible,
            "n": group.n_kept,
            "tie_share": group.tie_share if group.n_kept else None,
        }
        for group in made.groups
    ]


def _show_gold(output: Output, made: Gold, out: Path) -> None:
    from rich.text import Text

    shown = table_of("tiers", "source", "possible", "battles", "ties")
    for group in made.groups:
        ties = f"{group.tie_share:.1%}" if group.n_kept else "-"
        counts = (f"{group.n_possible:,}", f"{group.n_kept:,}", ties)
        shown.add_row(f"{group.tier_a} - {group.tier_b}", Text(group.source or "-"), *counts)
    output.say(shown)
    best = sorted(made.tiers.items(), key=lambda item: (item[1], item[0]))
    output.say("Tiers, best first: " + ", ".join(f"{model} {tier}" for model, tier in best))
    output.say(f"Wrote {len(made.battles):,} battles to {out}.")


app.command("judge")(judging.judge)  # after `gold`: the order of the help
