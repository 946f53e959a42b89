"""Every environment variable that prefroute reads (docs/reference/settings.md lists them).

A variable that is set but empty counts as not set, as shells and container files often leave it so.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

__all__ = [
    "cache_dir",
    "data_dir",
    "github_raw_url",
    "hub_endpoint",
    "openai_endpoint",
    "runtime_dir",
    "torchrun_process",
    "variable",
]

_OPENAI_URL = "https://api.openai.com/v1"


def variable(name: str) -> str | None:
    """The value of an environment variable; None where it is missing or empty."""
    return os.environ.get(name) or None  # noqa: TID251 - this is the one place


def data_dir() -> Path | None:
    """The folder that holds `routellm_benchmarks/` (`PREFROUTE_DATA`); None where it is not set."""
    value = variable("PREFROUTE_DATA")
    return Path(value) if value else None


def cache_dir() -> Path:
    """Where embeddings are kept: `PREFROUTE_CACHE`, else `prefroute` in the platform's cache folder of the user."""
    if value := variable("PREFROUTE_CACHE"):
        return Path(value)
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "prefroute"
    if sys.platform == "win32":
        return Path(variable("LOCALAPPDATA") or home / "AppData" / "Local") / "prefroute" / "cache"
    return Path(variable("XDG_CACHE_HOME") or home / ".cache") / "prefroute"


def runtime_dir() -> Path:
    """Where a running gateway says what it serves: `XDG_RUNTIME_DIR/prefroute`, else a temporary folder of the user."""
    if value := variable("XDG_RUNTIME_DIR"):
        return Path(value) / "prefroute"
    return Path(tempfile.gettempdir()) / f"prefroute-{os.getuid()}"


def openai_endpoint() -> tuple[str, str | None]:
    """Base URL and key of the OpenAI-compatible endpoint; the key is None where none is set.

    `PREFROUTE_OPENAI_BASE_URL` and `PREFROUTE_OPENAI_API_KEY` go before `OPENAI_BASE_URL` and `OPENAI_API_KEY`. The
    general key is used with the general base URL only: with prefroute's own base URL it would travel to another host.
    """
    own_key = variable("PREFROUTE_OPENAI_API_KEY")
    if own_url := variable("PREFROUTE_OPENAI_BASE_URL"):
        return own_url, own_key
    return variable("OPENAI_BASE_URL") or _OPENAI_URL, own_key or variable("OPENAI_API_KEY")


def hub_endpoint() -> tuple[str, str | None]:
    """Base URL of the Hugging Face hub (`HF_ENDPOINT`) and the token for it (`HF_TOKEN`); the token may be None."""
    return (variable("HF_ENDPOINT") or "https://huggingface.co").rstrip("/"), variable("HF_TOKEN")


def github_raw_url() -> str:
    """Base URL of files in GitHub repositories: `PREFROUTE_GITHUB_RAW`, for a mirror, else GitHub's own."""
    return (variable("PREFROUTE_GITHUB_RAW") or "https://raw.githubusercontent.com").rstrip("/")


def torchrun_process() -> tuple[int, int]:
    """This process's number and how many there are, as `torchrun` says (`RANK`, `WORLD_SIZE`); (0, 1) without it."""
    if variable("TORCHELASTIC_RUN_ID") is None:  # other launchers set the two for purposes of their own
        return 0, 1
    return int(variable("RANK") or 0), int(variable("WORLD_SIZE") or 1)


def share_metrics(folder: str) -> None:
    """Have child processes keep their Prometheus metrics in one folder; its client library knows no other way."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # noqa: TID251 - this is the one place
