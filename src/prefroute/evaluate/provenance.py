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
    """The commit of the working tree that this file lies in, linked or not; None where a wheel was installed."""
    for folder in start.resolve().parents:
        if (folder / "pyproject.toml").is_file() and (folder / ".git").exists():
            return _head(folder / ".git")
    return None


def _head(git: Path) -> str | None:
    """The commit that is checked out, whether its branch is a file of its own or a line of `packed-refs`."""
    if git.is_file():  # of a linked work tree or a submodule: says where its folder is
        git = git.parent / _text(git).removeprefix("gitdir: ")
    head = _text(git / "HEAD")
    if not head.startswith("ref: "):
        return head or None
    branch = head.removeprefix("ref: ")
    shared = git / _text(git / "commondir")  # where linked work trees have their branches
    packed = (line.partition(" ") for line in _text(shared / "packed-refs").splitlines())
    return _text(shared / branch) or next((sha for sha, _, name in packed if name == branch), None)


def _text(file: Path) -> str:
    """What the file says; nothing where there is none."""
    return file.read_text(encoding="utf-8").strip() if file.is_file() else ""
