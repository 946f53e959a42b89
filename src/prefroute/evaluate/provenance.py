"""Where a report's numbers come from: data hash, seed, versions, commit."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from pathlib import Path

import numpy as np

from prefroute.prompts import prompt_hash
from prefroute.types import Outcomes

__all__ = ["data_sha256", "git_sha", "versions"]


def data_sha256(outcomes: Outcomes) -> str:
    """SHA-256 over prompt hashes, model names and qualities, in order: equal tables, equal hash."""
    digest = hashlib.sha256("\x00".join(outcomes.models).encode())
    for prompt in outcomes.prompts:
        digest.update(bytes.fromhex(prompt_hash(prompt)))
    digest.update(np.ascontiguousarray(outcomes.quality, dtype="<f8").tobytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Versions of what computed the numbers."""
    packages = ("prefroute", "numpy")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in packages}}


def git_sha(start: Path = Path(__file__)) -> str | None:
    """The commit of the working tree that this file lies in; None where it is installed from a wheel."""
    for folder in start.resolve().parents:
        head = folder / ".git" / "HEAD"
        if (folder / "pyproject.toml").is_file() and head.is_file():
            text = head.read_text(encoding="utf-8").strip()
            if not text.startswith("ref: "):
                return text
            branch = folder / ".git" / text.removeprefix("ref: ")
            return branch.read_text(encoding="utf-8").strip() if branch.is_file() else None
    return None
