"""`prefroute calibrate`: the threshold for a wanted strong share, mean cost or quality, saved beside the router."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prefroute.cli.opening import open_router
from prefroute.cli.options import ConfigFile, JsonTo, Seed, parse_numbers, read_config
from prefroute.cli.output import Output
from prefroute.errors import ConfigError

if TYPE_CHECKING:
    from prefroute.calibrate import Calibration
    from prefroute.metrics import Interval
    from prefroute.settings.model import CalibrateSettings
    from prefroute.types import Outcomes

__all__ = ["calibrate"]


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
DryRun = Annotated[bool, typer.Option("--dry-run", help="Do not save the threshold beside the router.")]


def calibrate(
    router: RouterName,
    prompts: Prompts = None,
    outcomes: OutcomesPath = None,
    strong_share: StrongShare = None,
    mean_cost_usd: MeanCost = None,
    pgr: Pgr = None,
    price: ModelPrices = None,
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
    settings = read_config(config)
    checkpoint = open_router(router)
    target = _target(strong_share, mean_cost_usd, pgr, settings.calibrate)
    found = choose(
        checkpoint.router,
        _data(prompts, outcomes),
        strong_share=target["strong_share"],
        mean_cost_usd=target["mean_cost_usd"],
        pgr=target["pgr"],
        prices=parse_numbers(price, "--price", "--price small=0.0004") or None,
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
            **found.to_dict(),
        }
    )
    _show(output, router, found, is_saved)


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
    if is_saved:
        lines.append(f"Saved beside the router: prefroute route --router {router} uses it from now on.")
    else:
        lines.append(f"Not saved. Use it as: prefroute route --router {router} --threshold {found.policy.alpha:.6f}")
    output.say("\n".join(lines))
