"""What the user sets outside of code: environment variables, and one YAML file.

The door: `cache_dir`, `data_dir`, `openai_endpoint`, `hub_endpoint`, `github_raw_url`, `runtime_dir`,
`torchrun_process`, `variable` for the environment (standard library only, so that reading a variable never costs an
import of pydantic), and `load_settings`, `starting_config` for the file. The only room that reads the environment. It
must not open the things that it names: that is for the rooms that need them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefroute.settings.environment import (
    cache_dir,
    data_dir,
    github_raw_url,
    hub_endpoint,
    openai_endpoint,
    runtime_dir,
    torchrun_process,
    variable,
)
from prefroute.settings.starting import starting_config

if TYPE_CHECKING:
    from pathlib import Path

    from prefroute.settings.model import Settings

__all__ = [
    "cache_dir",
    "data_dir",
    "github_raw_url",
    "hub_endpoint",
    "load_settings",
    "openai_endpoint",
    "runtime_dir",
    "starting_config",
    "torchrun_process",
    "variable",
]


def load_settings(path: Path | str) -> Settings:
    """The settings of a YAML file, checked as a whole.

    Relative paths in the file are taken from the file's own folder. `${NAME}` in a value is replaced by the
    environment variable NAME.

    Raises:
        ConfigError: If the file cannot be read or anything in it is wrong; the message lists every problem with its
            file, line and key.
    """
    from prefroute.settings.file import read_file
    from prefroute.settings.model import Settings

    return read_file(path, Settings, starter="prefroute init").value
