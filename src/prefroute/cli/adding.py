"""`prefroute add-model`: one model more in the pool of an `mf` router, without training the rest again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefroute.cli.opening import open_router
from prefroute.cli.options import JsonTo
from prefroute.cli.output import Output
from prefroute.errors import ConfigError

if TYPE_CHECKING:
    from prefroute.metrics import Interval

__all__ = ["add_model"]


def add_model(
    router: Annotated[str, typer.Argument(metavar="ROUTER", help="The checkpoint of an mf router.")],
    name: Annotated[str, typer.Option("--name", metavar="MODEL", help="The new model, a column of the table.")],
    data: Annotated[
        Path, typer.Option("--data", metavar="PATH", help="Outcomes of the new model on 100 to 300 prompts.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to make and save the checkpoint in.")],
    json_to: JsonTo = None,
) -> None:
    """Add a model to an mf router: fit its vector alone, and say with intervals what that gives.

    Example: prefroute add-model runs/mf --name newcomer --data newcomer.parquet --out runs/mf-2
    """
    import numpy as np

    from prefroute.checkpoint import save_checkpoint
    from prefroute.data import PromptKeys, load
    from prefroute.routers.mf import MF
    from prefroute.types import Outcomes

    output = Output(json_to)
    output.spare(router, data)
    if out.exists():
        raise ConfigError(f"--out {str(out)!r} exists and is left alone. Remove it, or choose another folder.")
    checkpoint = open_router(router)
    if not isinstance(checkpoint.router, MF):
        raise ConfigError(
            f"{router!r} holds a {checkpoint.router.kind} router; only an mf router takes a new model. To put models "
            "of your own on the difficulty of an experts router: prefroute adapt"
        )
    table = load(data, table="outcomes")
    if not isinstance(table, Outcomes):
        raise ConfigError(f"--data {str(data)!r} must hold outcomes (quality of each answer), got battles.")
    added = checkpoint.router.add_model(name, table)
    own = PromptKeys.of(table.take(~np.isnan(table.quality[:, table.column(name)])).prompts)
    fingerprint = save_checkpoint(
        added.router,
        out,
        training=own if checkpoint.training is None else PromptKeys.merge([checkpoint.training, own]),
        training_data=[*checkpoint.manifest["training_data"], {"name": data.name, "rows": added.n}],
        licence=checkpoint.manifest["licence"],
    )
    figures = {"observed": added.observed, "predicted": added.predicted, "skill": added.skill}
    shown = {figure: _shown(value) for figure, value in figures.items()}
    output.result(
        {"schema": 1, "checkpoint": str(out), "model": name, "n": added.n, "measure": added.measure}
        | shown
        | {"fingerprint": fingerprint}
    )
    output.say(f"Added {name}, seen on {added.n} prompts, and saved {out} (fingerprint {fingerprint[:12]}).")
    words = {"observed": "observed mean", "predicted": "predicted mean", "skill": "squared error saved over the mean"}
    for figure, value in figures.items():
        label = f"{words[figure]} {added.measure}" if figure != "skill" else words[figure]
        output.say(f"  {label}: {value.value:.4f} [{value.low:.4f}, {value.high:.4f}]")


def _shown(figure: Interval) -> dict[str, Any]:
    return {"value": figure.value, "interval": [figure.low, figure.high]}
