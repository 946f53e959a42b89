"""Every `console` and `python` block of README and docs, run in a folder with the examples.

Blocks of one page run in order in one folder, as a reader would. A block that names PREFROUTE_DATA is skipped, saying
so, without the real data. What a console block shows after a command is not compared, only the exit code.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@dataclass(frozen=True)
class Block:
    language: str
    text: str

    @property
    def needs_data(self) -> bool:
        return "PREFROUTE_DATA" in self.text

    def script(self) -> list[str]:
        """The command that runs the block and fails when a step of it fails."""
        if self.language == "python":
            return [sys.executable, "-W", "error", "-c", self.text]
        lines = [line.removeprefix("$ ") for line in self.text.splitlines() if line.startswith("$ ")]
        assert lines, f"a console block without `$ `: {self.text!r}"
        return ["bash", "-euo", "pipefail", "-c", "\n".join(lines)]


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in BLOCK.findall(page.read_text(encoding="utf-8"))]


def test_there_are_blocks():
    assert sum(len(blocks(page)) for page in PAGES) >= 10


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page)], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_every_block_of_the_page_runs(page, tmp_path):
    shutil.copytree(ROOT / "docs" / "examples", tmp_path / "docs" / "examples")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for block in blocks(page):
        if block.needs_data and not os.environ.get("PREFROUTE_DATA"):
            continue
        done = subprocess.run(
            block.script(), cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block.text}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_inside_the_repository_leads_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text)

    assert [link for link in links if not (page.parent / link).exists()] == []
