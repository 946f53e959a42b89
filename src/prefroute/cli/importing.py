"""`prefroute import`: routers that other projects trained, as checkpoints of this one."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from prefroute.cli.opening import open_cached_embedder
from prefroute.cli.options import ConfigFile, JsonTo, read_config
from prefroute.cli.output import Bar, Output
from prefroute.errors import ConfigError

__all__ = ["app"]

app = typer.Typer(help="Take over routers that other projects trained.")


@app.callback()
def _group() -> None:
    """Keeps `routellm-mf` a word of its own while it is the only one."""


@app.command("routellm-mf")
def routellm_mf(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="RouteLLM's model.safetensors.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to make and save the checkpoint in.")],
    embedder: Annotated[
        str,
        typer.Option(
            "--embedder",
            metavar="SPEC",
            help="What the weights were trained on: openai:text-embedding-3-small for the published ones.",
        ),
    ],
    strong: Annotated[
        str, typer.Option("--strong", metavar="MODEL", help="One of RouteLLM's 64 models.")
    ] = "gpt-4-1106-preview",
    weak: Annotated[
        str, typer.Option("--weak", metavar="MODEL", help="Another of them.")
    ] = "mixtral-8x7b-instruct-v0.1",
    config: ConfigFile = None,
    json_to: JsonTo = None,
) -> None:
    """Make a checkpoint of RouteLLM's matrix factorization; it scores as it does there.

    Example: prefroute import routellm-mf model.safetensors --out runs/mf --embedder openai:text-embedding-3-small
    """
    from prefroute.checkpoint import save_checkpoint
    from prefroute.routers.mf import MF

    output = Output(json_to)
    output.spare(file, config)
    if out.exists():
        raise ConfigError(f"--out {str(out)!r} exists and is left alone. Remove it, or choose another folder.")
    with Bar("Embedding") as bar:
        router = MF.from_routellm(file, open_cached_embedder(embedder, read_config(config), bar), strong, weak)
    fingerprint = save_checkpoint(router, out, notes="Imported from RouteLLM; not trained here.")
    output.result(
        {
            "schema": 1,
            "checkpoint": str(out),
            "router": "mf",
            "strong": strong,
            "weak": weak,
            "fingerprint": fingerprint,
        }
    )
    output.say(f"Saved RouteLLM's mf ({len(router.models)} models) to {out} (fingerprint {fingerprint[:12]}).")
    output.say(f"Next: prefroute route --router {shlex.quote(str(out))} --threshold 0.11593 'What is 2 + 2?'")
