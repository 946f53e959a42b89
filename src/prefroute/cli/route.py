"""`prefroute route`: which model each prompt goes to."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefroute.cli.calibrate import FEWEST_FOR_A_SHARE
from prefroute.cli.opening import open_router, saved_threshold
from prefroute.cli.options import JsonTo
from prefroute.cli.output import Bar, Output, shorten
from prefroute.errors import ConfigError

if TYPE_CHECKING:
    from prefroute.checkpoint import Checkpoint
    from prefroute.policy import Threshold
    from prefroute.routers import Router
    from prefroute.types import FloatArray

__all__ = ["route"]

_BATCH = 1024
_NEW = 0.5  # novelty: rather unlike the training data than like it


def route(
    text: Annotated[str | None, typer.Argument(metavar="[TEXT]", help="One prompt.", show_default=False)] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            metavar="FILE",
            help="Prompts: one a line, or .jsonl, .csv, .parquet with a column 'prompt'; '-' is standard input.",
        ),
    ] = None,
    router: Annotated[
        str, typer.Option("--router", metavar="ROUTER", help="A checkpoint folder, or 'default'.")
    ] = "default",
    threshold: Annotated[
        float | None, typer.Option("--threshold", min=0, max=1, help="Strong model iff win rate >= this.")
    ] = None,
    strong_share: Annotated[
        float | None,
        typer.Option(
            "--strong-share",
            min=0,
            max=1,
            help="Threshold that sends this share of the prompts to strong; below 20 prompts, the checkpoint's own.",
        ),
    ] = None,
    json_to: JsonTo = None,
) -> None:
    """Say which model each prompt goes to, its win rate and the threshold; --json writes one line a prompt.

    Prompts unlike what the router was trained on are marked "new", by routers that can tell: their score is a guess.
    To 'default' most everyday chat is new.

    Example: prefroute route "Prove that there are infinitely many primes."

    Example: prefroute route --file prompts.jsonl --strong-share 0.3 --json routed.jsonl
    """
    from prefroute.data import read_prompts

    output = Output(json_to)
    output.spare(router, file)
    if text is not None and file is not None:
        raise ConfigError("Give a prompt or --file, not both.")
    if threshold is not None and strong_share is not None:
        raise ConfigError("Give --threshold or --strong-share, not both.")
    if text is None and file is None and sys.stdin is not None and sys.stdin.isatty():
        raise ConfigError('Nothing to route. Give a prompt, as in: prefroute route "What is 2 + 2?", or --file FILE.')
    checkpoint = open_router(router)
    prompts: Iterator[str] | list[str] = (
        iter([text]) if text is not None else read_prompts("-" if file is None else file)
    )
    if strong_share is not None:
        prompts = list(prompts)
        policy = _share_policy(checkpoint, prompts, strong_share, output)
    else:
        policy = _threshold(checkpoint, threshold)
    with Bar("Routing") as bar:
        rows = _rows(checkpoint, policy, prompts, router, bar)
        output.results(_printed(output, rows))


def _threshold(checkpoint: Checkpoint, alpha: float | None) -> Threshold:
    from prefroute.policy import Threshold

    return saved_threshold(checkpoint) if alpha is None else Threshold(alpha)


def _share_policy(checkpoint: Checkpoint, prompts: list[str], strong_share: float, output: Output) -> Threshold:
    """Chosen on the prompts themselves, or from the checkpoint's table where they are too few."""
    from prefroute.calibrate import calibrate

    if len(prompts) >= FEWEST_FOR_A_SHARE:
        return calibrate(checkpoint.router, prompts, strong_share=strong_share).policy
    ready = checkpoint.ready_threshold(strong_share)
    if ready is None:
        raise ConfigError(
            f"--strong-share chooses the threshold from the prompts themselves and needs at least "
            f"{FEWEST_FOR_A_SHARE} of them, got {len(prompts)}, and the checkpoint has no table of thresholds. Give "
            "--threshold, or run prefroute calibrate first."
        )
    output.say(
        f"Fewer than {FEWEST_FOR_A_SHARE} prompts: the checkpoint's own threshold for this share is used. It was made "
        "on training prompts; yours may get another share."
    )
    return ready


def _rows(
    checkpoint: Checkpoint, policy: Threshold, prompts: Iterator[str] | list[str], name: str, bar: Bar
) -> Iterator[tuple[str, dict[str, Any]]]:
    from prefroute.data import batches

    router = checkpoint.router
    index = 0
    for batch in batches(prompts, _BATCH):
        win_rates, novelty = _scored(router, batch)
        strong = policy.choose(win_rates)
        for prompt, win_rate, is_strong, new in zip(batch, win_rates, strong, novelty, strict=True):
            model = router.strong if is_strong else router.weak
            yield (
                prompt,
                {
                    "index": index,
                    "model": model,
                    "win_rate": float(win_rate),
                    "novelty": new,
                    "threshold": policy.alpha,
                    "router": name,
                    "fingerprint": checkpoint.fingerprint,
                },
            )
            index += 1
        bar(index, index)


def _scored(router: Router, prompts: Sequence[str]) -> tuple[FloatArray, Sequence[float | None]]:
    """Win rates, and how unlike the training data each prompt is; None from a router that cannot tell."""
    from prefroute.routers import NoveltyRouter

    if not isinstance(router, NoveltyRouter):
        return router.win_rate(prompts), [None] * len(prompts)
    win_rates, novelty = router.scored(prompts)
    return win_rates, [None if math.isnan(new) else new for new in novelty.tolist()]


def _printed(output: Output, rows: Iterator[tuple[str, dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    from rich.text import Text

    for prompt, row in rows:
        if output.json_to != "-":
            line = f"{row['model']}  win rate {row['win_rate']:.3f}, threshold {row['threshold']:.3f}"
            line += ", new to the router" if (row["novelty"] or 0.0) > _NEW else ""
            output.say(Text(f"{line}  {shorten(prompt, 60)}"))
        yield row
