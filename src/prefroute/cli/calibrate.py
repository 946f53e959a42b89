"""`prefroute calibrate`: the threshold for a wanted strong share, mean cost or quality, saved beside the router."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prefroute.cli.opening import open_router
from prefroute.cli.options import ConfigFile, JsonTo, Seed, parse_numbers, read_config
from prefroute.cli.output import Output
from prefroute.errors import ConfigError, DataError, nearest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from prefroute.calibrate import Calibration
    from prefroute.checkpoint import Checkpoint
    from prefroute.metrics import Interval
    from prefroute.routers import Router
    from prefroute.settings.model import CalibrateSettings
    from prefroute.types import Outcomes

__all__ = ["FEWEST_FOR_A_SHARE", "calibrate"]

FEWEST_FOR_A_SHARE = 20
"""Prompts below which a threshold that was chosen on them says little of others."""

RouterName = Annotated[str, typer.Argument(metavar="ROUTER", help="A checkpoint folder, or 'default'.")]
Prompts = Annotated[
    str | None,
    typer.Option("--prompts", metavar="FILE", help="Your prompts, as for route --file; '-' is standard input."),
]
OutcomesPath = Annotated[
    Path | None,
    typer.Option("--outcomes", metavar="PATH", help="A table with both models' quality; --pgr needs it."),
]
StrongShare = Annotated[
    float | None, typer.Option("--strong-share", min=0, max=1, help="Wanted share of prompts for strong.")
]
MeanCost = Annotated[
    float | None, typer.Option("--mean-cost-usd", min=0, help="Wanted mean cost of a request, US dollars.")
]
Pgr = Annotated[float | None, typer.Option("--pgr", max=1, help="Wanted share of the quality gap, up to 1.")]
ModelPrices = Annotated[
    list[str] | None,
    typer.Option("--price", metavar="MODEL=USD", help="Mean price of a request to a model. Repeatable."),
]
KeepSeen = Annotated[
    bool, typer.Option("--keep-seen", help="Keep the prompts that the router was trained on, which are left out else.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Do not save the threshold beside the router.")]


def calibrate(
    router: RouterName,
    prompts: Prompts = None,
    outcomes: OutcomesPath = None,
    strong_share: StrongShare = None,
    mean_cost_usd: MeanCost = None,
    pgr: Pgr = None,
    price: ModelPrices = None,
    keep_seen: KeepSeen = False,
    dry_run: DryRun = False,
    seed: Seed = None,
    config: ConfigFile = None,
    json_to: JsonTo = None,
) -> None:
    """Choose the threshold on your own prompts or outcomes, with the interval of what it will achieve.

    Example: prefroute calibrate runs/linear --prompts traffic.jsonl --strong-share 0.3

    Example: prefroute calibrate runs/linear --outcomes outcomes.parquet --pgr 0.8
    """
    from prefroute.calibrate import calibrate as choose
    from prefroute.checkpoint import save_policy

    output = Output(json_to)
    output.spare(router, prompts, outcomes, config)
    settings = read_config(config)
    checkpoint = open_router(router, with_policy=False)
    target = _target(strong_share, mean_cost_usd, pgr, settings.calibrate)
    data, n_seen, remark = _unseen(_data(prompts, outcomes), checkpoint, keep_seen)
    found = choose(
        checkpoint.router,
        data,
        strong_share=target["strong_share"],
        mean_cost_usd=target["mean_cost_usd"],
        pgr=target["pgr"],
        prices=_prices(price, checkpoint.router),
        seed=settings.seed if seed is None else seed,
    )
    is_saved = router != "default" and not dry_run
    if is_saved:
        save_policy(Path(router), found.policy, checkpoint.fingerprint)
    output.result(
        {
            "schema": 1,
            "router": router,
            "fingerprint": checkpoint.fingerprint,
            "threshold": found.policy.alpha,
            "is_saved": is_saved,
            "n_seen": n_seen,
            "keep_seen": keep_seen,
            **found.to_dict(),
        }
    )
    _show(output, router, found, is_saved)
    if remark:
        output.say(remark)


def _target(
    strong_share: float | None, mean_cost_usd: float | None, pgr: float | None, settings: CalibrateSettings
) -> dict[str, float | None]:
    """The one target that is given, by flag or else by setting; the others None."""
    given = {"strong_share": strong_share, "mean_cost_usd": mean_cost_usd, "pgr": pgr}
    if all(value is None for value in given.values()):
        given = {name: getattr(settings, name) for name in given}
    if sum(value is not None for value in given.values()) != 1:
        raise ConfigError("Give one of --strong-share, --mean-cost-usd and --pgr: it says what to calibrate for.")
    return given


def _data(prompts: str | None, outcomes: Path | None) -> Sequence[str] | Outcomes:
    from prefroute.data import load, read_prompts
    from prefroute.types import Outcomes

    if (prompts is None) == (outcomes is None):
        raise ConfigError("Give --prompts FILE or --outcomes PATH: what to calibrate on.")
    if prompts is not None:
        return list(read_prompts(prompts))
    assert outcomes is not None
    table = load(outcomes, table="outcomes")
    assert isinstance(table, Outcomes)
    return table


def _prices(words: list[str] | None, router: Router) -> dict[str, float] | None:
    """USD per request by model.

    Raises:
        ConfigError: If a word is no price, or names a model that is not of the router's pair.
    """
    prices = parse_numbers(words, "--price", "--price small=0.0004")
    for name, usd in prices.items():
        if name not in (router.strong, router.weak):
            raise ConfigError(f"--price: {nearest(name, (router.strong, router.weak), 'model')}")
        if not 0 <= usd < float("inf"):
            raise ConfigError(f"--price {name} must be a number of US dollars >= 0, got {usd:g}.")
    return prices or None


def _unseen(
    data: Sequence[str] | Outcomes, checkpoint: Checkpoint, keep_seen: bool
) -> tuple[Sequence[str] | Outcomes, int | None, str]:
    """The data to calibrate on, how many of its prompts the router has seen (None: not known), what to say of it.

    A router scores what it was trained on as it will never score new traffic: a threshold that is chosen there gives
    another share, and promises more quality, than it keeps.
    """
    from prefroute.types import Outcomes

    seen = _seen(data.prompts if isinstance(data, Outcomes) else data, checkpoint)
    if seen is None:
        return data, None, "Warning: nothing is known of the router's training prompts; these may be among them."
    n_seen = int(seen.sum())
    if not n_seen:
        return data, 0, ""
    if keep_seen:
        return data, n_seen, f"Warning: {n_seen:,} of these prompts trained the router; on new ones it does worse."
    if n_seen == len(seen):
        raise DataError(
            f"The router was trained on all {n_seen:,} prompts, which says nothing about new ones. Bring others "
            "(prefroute data split keeps some aside), or add --keep-seen."
        )
    left = data.take(~seen) if isinstance(data, Outcomes) else list(compress(data, ~seen))
    return left, n_seen, f"Left out: {n_seen:,} prompts that the router was trained on (--keep-seen keeps them)."


def _seen(prompts: Sequence[str], checkpoint: Checkpoint) -> npt.NDArray[np.bool_] | None:
    """Which prompts the router, or its embedder, was trained on, shape (n,); None where nothing is known of it."""
    from prefroute.data import PromptKeys, contamination

    if checkpoint.training is None:
        return None
    embedder = getattr(checkpoint.router, "embedder", None)
    keys = [] if embedder is None else [PromptKeys.from_hashes(embedder.trained_on)]
    return contamination(prompts, PromptKeys.merge([checkpoint.training, *keys])).any


def _show(output: Output, router: str, found: Calibration, is_saved: bool) -> None:
    lines = [f"Threshold {found.policy.alpha:.6f} for {found.target} {found.wanted:g}, chosen on {found.n:,} prompts."]
    named: tuple[tuple[str, Interval | None, str], ...] = (
        ("strong share", found.strong_share, ".3f"),
        ("mean cost, USD", found.mean_cost_usd, ".6f"),
        ("quality, 0 to 1", found.quality, ".4f"),
        ("PGR", found.pgr, ".3f"),
    )
    for name, value, style in named:
        if value is not None:
            lines.append(f"  {name}: {value.value:{style}}, 95% interval {value.low:{style}} to {value.high:{style}}")
    if found.note:
        lines.append(found.note)
    if found.n < FEWEST_FOR_A_SHARE:
        lines.append(
            f"Warning: so few prompts say little of what it will do on others. Bring {FEWEST_FOR_A_SHARE} at least."
        )
    command = f"prefroute route --router {shlex.quote(router)}"
    if is_saved:
        lines.append(f"Saved beside the router: {command} uses it from now on.")
    else:
        lines.append(f"Not saved. Use it as: {command} --threshold {found.policy.alpha:.6f}")
    output.say("\n".join(lines))
