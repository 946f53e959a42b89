"""Options that several commands share: one spelling, one help text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefroute.errors import ConfigError

if TYPE_CHECKING:
    from prefroute.settings.model import Settings

__all__ = [
    "ConfigFile",
    "DataDir",
    "EmbedderSpec",
    "JsonTo",
    "Params",
    "Seed",
    "parse_numbers",
    "parse_params",
    "read_config",
]

JsonTo = Annotated[
    str | None,
    typer.Option(
        "--json", metavar="FILE", help="Write the result as JSON. '-' is standard output; words then go to stderr."
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings to start from (see 'prefroute init'); flags go first."),
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Folder of the public question sets. Default: $PREFROUTE_DATA."),
]
EmbedderSpec = Annotated[
    str | None,
    typer.Option(
        "--embedder",
        metavar="SPEC",
        help="static (default), minilm, a hub name, a folder, onnx:FOLDER, openai:MODEL, stored:FILE.",
    ),
]
Params = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="NAME=VALUE", help="Set a parameter of the router; VALUE is JSON. Repeatable."),
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, max=2**32 - 1, help="Drives every draw. Default: 0.")]


def parse_numbers(words: Sequence[str] | None, option: str, example: str) -> dict[str, float]:
    """The numbers of `model=number` words, by model.

    Raises:
        ConfigError: If a word is none.

    Example:
        >>> parse_numbers(["small=0.0004"], "--price", "--price small=0.0004")
        {'small': 0.0004}
    """
    numbers = {}
    for word in words or ():
        model, _, value = word.rpartition("=")
        try:
            numbers[model] = float(value)
        except ValueError:
            model = ""
        if not model:
            raise ConfigError(f"{option} must look like MODEL=NUMBER, got {word!r}. Example: {example}")
    return numbers


def parse_params(words: Sequence[str] | None) -> dict[str, Any]:
    """The router's parameters from `name=value` words; a value that is not JSON is taken as text.

    Raises:
        ConfigError: If a word has no `=`, or a name stands twice.

    Example:
        >>> parse_params(["k=200", "metric=cosine"])
        {'k': 200, 'metric': 'cosine'}
    """
    params: dict[str, Any] = {}
    for word in words or ():
        name, equals, value = word.partition("=")
        name = name.replace("-", "_")
        if not equals or not name.isidentifier():
            raise ConfigError(f"--param must look like name=value, got {word!r}. Example: --param k=200")
        if name in params:
            raise ConfigError(f"--param {name} stands twice. Give it once.")
        try:
            params[name] = json.loads(value)
        except json.JSONDecodeError:
            params[name] = value
        except (ValueError, RecursionError) as exc:
            raise ConfigError(f"--param {name}: a number or nesting out of all bounds.") from exc
    return params


def read_config(path: Path | None) -> Settings:
    """The settings of a file, or the defaults where there is none."""
    if path is None:
        from prefroute.settings.model import Settings

        return Settings()
    from prefroute.settings import load_settings

    return load_settings(path)
