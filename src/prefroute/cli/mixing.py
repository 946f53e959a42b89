"""`--source`: a table with its own pair and weight, one of a mixture; and what each of them adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prefroute.cli.output import Output, table_of
from prefroute.errors import ConfigError, nearest

if TYPE_CHECKING:
    from prefroute.evaluate import SourceEffects
    from prefroute.types import Mixture

__all__ = ["LeaveOneOut", "SourceSpec", "Sources", "parse_sources", "read_mixture", "show_effects"]

Sources = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        metavar="NAME=PATH[,strong=A][,weak=B][,weight=W]",
        help="One table of a mixture, with its own pair and weight, in place of --data. Repeatable.",
    ),
]

LeaveOneOut = Annotated[
    bool,
    typer.Option(
        "--leave-one-out",
        help="Also measure what each --source adds, on a held-out fifth of each and on every --against: trains once "
        "more for all, and once without each.",
    ),
]


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """One `--source`, as written.

    Attributes:
        name: What reports call it.
        path: The table.
        strong: Its strong model; None for that of --strong.
        weak: Its weak model; None for that of --weak.
        weight: How much its rows count.
    """

    name: str
    path: Path
    strong: str | None = None
    weak: str | None = None
    weight: float = 1.0


def parse_sources(words: Sequence[str] | None) -> list[SourceSpec]:
    """The sources that the words of `--source` name.

    Raises:
        ConfigError: If a word does not read as NAME=PATH with known fields behind it.

    Example:
        >>> spec = parse_sources(["votes=battles.csv,strong=gpt-4,weight=0.5"])[0]
        >>> spec.name, str(spec.path), spec.strong, spec.weak, spec.weight
        ('votes', 'battles.csv', 'gpt-4', None, 0.5)
    """
    return [_parsed(word) for word in words or ()]


def _parsed(word: str) -> SourceSpec:
    first, *fields = word.split(",")
    name, equals, path = first.partition("=")
    if not (name and equals and path):
        raise ConfigError(f"--source must look like NAME=PATH[,strong=A][,weak=B][,weight=W], got {word!r}.")
    known: dict[str, str] = {}
    for field in fields:
        key, _, value = field.partition("=")
        if key not in ("strong", "weak", "weight"):
            raise ConfigError(f"--source {name}: {nearest(key, ('strong', 'weak', 'weight'), 'field')}")
        if key in known:
            raise ConfigError(f"--source {name}: {key} stands twice. Give it once.")
        known[key] = value
    try:
        weight = float(known.get("weight", "1"))
    except ValueError as exc:
        raise ConfigError(f"--source {name}: weight must be a number, got {known['weight']!r}.") from exc
    return SourceSpec(name, Path(path), known.get("strong"), known.get("weak"), weight)


def read_mixture(specs: Sequence[SourceSpec], strong: str, weak: str) -> Mixture:
    """The tables of the sources, each with its own pair where it names one."""
    from prefroute.data import load
    from prefroute.types import Mixture, Source

    sources = []
    for spec in specs:
        pair = spec.strong or strong, spec.weak or weak
        sources.append(Source(spec.name, load(spec.path, strong=pair[0], weak=pair[1]), *pair, weight=spec.weight))
    return Mixture(tuple(sources))


def show_effects(effects: SourceEffects, output: Output) -> None:
    """Print what each source adds, and how near the questions are to each source."""
    from prefroute.evaluate import effects_table

    _show("What each source adds to APGR (paired differences, 95%)", effects_table(effects), output)
    for row in effects.rows:
        if row["note"]:
            output.say(f"{row['scored_on']}: not measured. {row['note']}")
    similarity: dict[str, list[str]] = {}
    for row in effects.similarity:
        similarity.setdefault(row["scored_on"], []).append(f"{row['similarity']:.3f}")
    if similarity:
        head = ["questions", *dict.fromkeys(row["source"] for row in effects.similarity)]
        body = [[name, *cells] for name, cells in similarity.items()]
        _show("Similarity of the questions to each source (mean of the highest cosine)", [head, *body], output)


def _show(title: str, cells: Sequence[Sequence[str]], output: Output) -> None:
    from rich.text import Text

    output.say(title)
    shown = table_of(*cells[0])
    for line in cells[1:]:
        shown.add_row(*map(Text, line))
    output.say(shown)
