"""`prefroute init`: a commented settings file to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prefroute.cli.options import JsonTo
from prefroute.cli.output import Output, check_writable, write_text
from prefroute.errors import ConfigError

__all__ = ["init"]


def init(
    path: Annotated[Path, typer.Argument(metavar="[FILE]", help="File to write.")] = Path("prefroute.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    json_to: JsonTo = None,
) -> None:
    """Write a commented settings file for train, evaluate and calibrate.

    Example: prefroute init && prefroute train --config prefroute.yaml
    """
    from prefroute.settings import starting_config

    output = Output(json_to)
    check_writable(path, "FILE")
    if path.exists() and not force:
        raise ConfigError(f"{str(path)!r} exists and is left alone. Choose another name, or add --force.")
    write_text(path, starting_config())
    output.result({"schema": 1, "path": str(path)})
    output.say(f"Wrote {path}. Edit it, then: prefroute train --config {path}")
