"""Every `console` and `python` block of README and docs, run in a folder with the examples.

Blocks of one page run in order in one folder, as a reader would. A block that names PREFROUTE_DATA is skipped, saying
so, without the real data. What a console block shows after a command is not compared, only the exit code.

Blocks of `sh` want something of the reader's own: a gateway, its journal, keys. Here their commands are only parsed;
those on a journal run in tests/e2e, on a filled one.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

from prefroute.cli.app import app

ROOT = Path(__file__).parents[2]
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
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


def commands(page: Path) -> list[list[str]]:
    """What follows `prefroute` in the lines of the page's sh blocks."""
    found = []
    for line in "\n".join(SHELL.findall(page.read_text(encoding="utf-8"))).replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        ends = [i for i, word in enumerate(words) if word == "prefroute" or word.endswith("/bin/prefroute")]
        if ends and ends[-1] + 1 < len(words):  # not a user of that name
            found.append(words[ends[-1] + 1 :])
    return found


def test_the_commands_of_sh_blocks_are_found():
    assert ["serve", "gateway.yaml", "--check"] in commands(ROOT / "README.md")
    assert sum(len(commands(page)) for page in PAGES) >= 18


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=name)
def test_every_command_of_an_sh_block_is_one_that_prefroute_takes(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in commands(page):
        command, context, rest = typer.main.get_command(app), None, words
        while hasattr(command, "resolve_command"):
            context = command.make_context("prefroute", rest, parent=context)
            _, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        command.make_context(command.name, rest, parent=context)


def prose(page: Path) -> str:
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What its headings are called in links."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_inside_the_repository_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", prose(page))
    targets = [((page.parent / link) if link else page, anchor) for link, anchor in links]

    assert [str(target) for target, _ in targets if not target.exists()] == []
    assert [(target.name, anchor) for target, anchor in targets if anchor and anchor not in anchors(target)] == []
