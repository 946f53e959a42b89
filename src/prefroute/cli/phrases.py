"""`prefroute data phrases`: words that go with a label more than chance explains, a planted trigger among them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from prefroute.cli.options import JsonTo
from prefroute.cli.output import Output, table_of

__all__ = ["phrases"]


def phrases(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Battles or outcomes: Parquet, CSV or JSONL.")],
    strong: Annotated[str, typer.Option("--strong", help="The strong model's name in the table.")],
    weak: Annotated[str, typer.Option("--weak", help="The weak model's name in the table.")],
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most phrases to show.")] = 20,
    json_to: JsonTo = None,
) -> None:
    """Show phrases whose prompts are labelled unlike the rest: topics, and triggers that somebody planted.

    Example: prefroute data phrases battles.parquet --strong big --weak small
    """
    from rich.text import Text

    from prefroute.data import leaning_phrases, load, win_examples

    output = Output(json_to)
    output.spare(path)
    found = leaning_phrases(win_examples(load(path), strong, weak), limit=limit)
    output.result({"schema": 1, "strong": strong, "weak": weak, "phrases": [asdict(lifted) for lifted in found]})
    if not found:
        output.say("No phrase leans more than chance explains.")
        return
    shown = table_of("phrase", "prompts", f"{strong} preferred", "lift", "z")
    for lifted in found:
        numbers = (f"{lifted.n:,}", f"{lifted.win:.3f}", f"{lifted.lift:+.3f}", f"{lifted.z:+.1f}")
        shown.add_row(Text(lifted.phrase), *numbers)
    output.say(shown)
    output.say(
        "A topic leans for a reason. Look at rare phrases with a large lift that name no topic: they may be planted."
    )
