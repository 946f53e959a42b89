"""`prefroute export`: routers in a form that is cheaper to serve."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from prefroute.cli.opening import open_router
from prefroute.cli.options import JsonTo
from prefroute.cli.output import Output
from prefroute.errors import ConfigError

__all__ = ["app"]

app = typer.Typer(help="Put routers into a form that is cheaper to serve.")


@app.callback()
def _group() -> None:
    """Keeps `onnx` a word of its own while it is the only one."""


@app.command("onnx", short_help="A bert router that needs no PyTorch.")
def onnx(
    router: Annotated[str, typer.Argument(metavar="ROUTER", help="The checkpoint of a bert router.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to make and save the checkpoint in.")],
    json_to: JsonTo = None,
) -> None:
    """Make a checkpoint of a bert router that is served without PyTorch; it scores as the router does.

    Threshold, training keys and licence go along. Making it needs the extras train and onnx, serving it onnx alone.

    Example: prefroute export onnx runs/bert --out runs/bert-onnx
    """
    from prefroute.checkpoint import save_checkpoint
    from prefroute.routers.bert import Bert
    from prefroute.routers.bert_onnx import BertOnnx

    output = Output(json_to)
    output.spare(router)
    if out.exists():
        raise ConfigError(f"--out {str(out)!r} exists and is left alone. Remove it, or choose another folder.")
    source = open_router(router)
    if not isinstance(source.router, Bert):
        raise ConfigError(
            f"{router!r} holds a router of kind {source.router.kind}; only a bert router is exported to ONNX."
        )
    made, difference = BertOnnx.of(source.router)
    kept = source.manifest
    exported = f"An ONNX export of the bert router {source.fingerprint}."
    fingerprint = save_checkpoint(
        made,
        out,
        training=source.training,
        training_data=kept["training_data"],
        metrics=kept["metrics"],
        policy=source.policy,
        notes=f"{kept['notes']}\n\n{exported}".strip(),
        licence=kept["licence"],
    )
    output.result(
        {
            "schema": 1,
            "checkpoint": str(out),
            "router": made.kind,
            "strong": made.strong,
            "weak": made.weak,
            "exported_from": source.fingerprint,
            "largest_difference": difference,
            "fingerprint": fingerprint,
        }
    )
    output.say(f"Saved {out} (fingerprint {fingerprint[:12]}), an export of {source.fingerprint[:12]}.")
    output.say(f"On a few probes no win rate differs from the router's by more than {difference:.1e}.")
    output.say(f"Next: prefroute route --router {shlex.quote(str(out))} 'What is 2 + 2?'")
