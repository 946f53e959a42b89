"""`prefroute init`: a commented file to start from, of settings or of the gateway."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from prefroute.cli.options import JsonTo
from prefroute.cli.output import Output, write_text
from prefroute.errors import ConfigError

__all__ = ["init"]


def init(
    path: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="File to write. Default: prefroute.yaml, or gateway.yaml.")
    ] = None,
    gateway: Annotated[bool, typer.Option("--gateway", help="Write the gateway's configuration instead.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    json_to: JsonTo = None,
) -> None:
    """Write a commented settings file for train, evaluate and calibrate, or one for serve.

    Example: prefroute init && prefroute train --config prefroute.yaml

    Example: prefroute init --gateway && prefroute serve gateway.yaml
    """
    target = path or Path("gateway.yaml" if gateway else "prefroute.yaml")
    output = Output(json_to, {"FILE": target})
    if target.exists() and not force:
        raise ConfigError(f"{str(target)!r} exists and is left alone. Choose another name, or add --force.")
    write_text(target, _text(gateway))
    output.result({"schema": 1, "path": str(target)})
    then = "serve" if gateway else "train --config"
    output.say(f"Wrote {target}. Edit it, then: prefroute {then} {shlex.quote(str(target))}")


def _text(gateway: bool) -> str:
    if gateway:
        from prefroute.serve.starting import starting_gateway

        return starting_gateway()
    from prefroute.settings import starting_config

    return starting_config()
