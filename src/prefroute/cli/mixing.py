"""`--source`: a table with its own pair and weight, one of a mixture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prefroute.errors import ConfigError, nearest

if TYPE_CHECKING:
    from prefroute.types import Mixture

__all__ = ["SourceSpec", "Sources", "parse_sources", "read_mixture"]

Sources = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        metavar="NAME=PATH[,strong=A][,weak=B][,weight=W]",
        help="One table of a mixture, with its own pair and weight, in place of --data. Repeatable.",
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
