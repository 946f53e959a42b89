"""The program as a user runs it: in a process of its own, on small made-up tables."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.servers.faulty_upstream import FaultyUpstream
from tests.servers.gateway import CANARY, in_process

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@dataclass(frozen=True)
class Program:
    """Runs `prefroute` in a folder of its own."""

    folder: Path

    def __call__(self, *words: object, stdin: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
        """The finished process; the test fails here if the exit code is not the expected one."""
        done = subprocess.run(
            [sys.executable, "-m", "prefroute", *map(str, words)],
            check=False,
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, f"exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done

    def refused(self, *words: object, code: int = 2, stdin: str = "") -> str:
        """The message of a run that must fail with one line and no trace."""
        done = self(*words, code=code, stdin=stdin)
        lines = done.stderr.splitlines()
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("prefroute: error: ")
        assert "Traceback" not in done.stdout + done.stderr
        return lines[0].removeprefix("prefroute: error: ")


@pytest.fixture
def run(tmp_path) -> Program:
    return Program(tmp_path)


@pytest.fixture
def outcomes() -> Path:
    """240 made-up prompts with 0/1 outcomes of `big` and `small`."""
    return EXAMPLES / "outcomes.csv"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A router trained through the command line on the example table, with a threshold."""
    folder = tmp_path_factory.mktemp("trained")
    words = ("--data", EXAMPLES / "outcomes.csv", "--strong", "big", "--weak", "small", "--out", "knn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFROUTE_CACHE", str(folder / "cache"))  # a test has one of its own, a session has none
        Program(folder)("train", "knn", *words, "--calibrate-share", "0.4")
    return folder / "knn"


@pytest.fixture
def upstream() -> Iterator[FaultyUpstream]:
    with FaultyUpstream() as server:
        yield server


@pytest.fixture
def serving(tmp_path, monkeypatch, upstream) -> Callable[..., Any]:
    """Runs an async function over a gateway whose models are both the scripted upstream."""
    monkeypatch.setenv("CANARY", CANARY)

    def run(scenario, **sections: str) -> Any:
        async def over() -> Any:
            async with in_process(tmp_path, upstream.base_url, **sections) as gateway:
                return await scenario(gateway)

        return asyncio.run(over())

    return run
