"""Where a command's words and numbers go: a console for people, a file for programs."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from prefroute.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress

__all__ = ["Bar", "Output", "check_extra", "check_writable", "own_command", "shorten", "write_text"]

_PIPE_WIDTH = 176  # columns of a table that is not printed to a terminal


class Output:
    """One command's output.

    Args:
        json_to: Where the result goes as JSON: a file, "-" for standard output (people's text then moves to
            standard error), or None for nowhere.

    Raises:
        ConfigError: If the folder of `json_to` does not exist: better now than after the work.
    """

    def __init__(self, json_to: str | None) -> None:
        from rich.console import Console

        if json_to not in (None, "-"):
            check_writable(Path(json_to), "--json")
        self.json_to = json_to
        stream = (sys.stderr if json_to == "-" else sys.stdout) or io.StringIO()  # a closed stream swallows the words
        width = None if stream.isatty() else _PIPE_WIDTH
        self.console: Console = Console(file=stream, width=width, highlight=False)

    @property
    def width(self) -> int:
        """Columns that a table may take."""
        return self.console.width

    def say(self, *what: RenderableType) -> None:
        """Print for people."""
        self.console.print(*what, markup=False, emoji=False)

    def result(self, value: Mapping[str, Any]) -> None:
        """Write one JSON object, where it was asked for."""
        self.results([value], indent=2)

    def results(self, values: Iterable[Mapping[str, Any]], indent: int | None = None) -> None:
        """Write JSON objects one after the other, a line each unless indented; consumes `values` in any case."""
        lines = (json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent) for value in values)
        if self.json_to == "-":
            for line in lines:
                sys.stdout.write(line + "\n")
            sys.stdout.flush()
        elif self.json_to is None:
            for _ in lines:
                pass
        else:
            write_text(Path(self.json_to), "".join(line + "\n" for line in lines))


def check_writable(path: Path, option: str) -> None:
    """Refuse a file that cannot be written, before any work is done.

    Raises:
        ConfigError: If the folder does not exist, or the path is a folder.
    """
    if path.is_dir():
        raise ConfigError(f"{option} must be a file, got the folder {str(path)!r}.")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{option}: no folder {str(path.parent)!r} to write {path.name!r} into. Make it first.")


def check_extra(option: str, path: Path | None, module: str) -> None:
    """Refuse a picture or page whose library is missing, before any work is done.

    Raises:
        MissingExtraError: If the option is used and the library of the extra `plot` is not installed.
    """
    if path is not None and importlib.util.find_spec(module) is None:
        raise MissingExtraError(f"The option {option}", "plot")


def own_command() -> str:
    """What to type to run this program again: its bare name, or its path where the shell would not find it."""
    if shutil.which("prefroute"):
        return "prefroute"
    beside = Path(sys.executable).with_name("prefroute")
    near = beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside
    return str(near)


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing: beside it first, then renamed. A device or pipe is written to as it is."""
    target = path.resolve()
    if target.exists() and not target.is_file():
        target.write_text(text, encoding="utf-8")
        return
    beside = target.with_name(f".{target.name}.part")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def shorten(text: str, length: int) -> str:
    r"""One printable line of at most `length` characters; control characters never reach the terminal.

    Example:
        >>> shorten("two\nlines, and more", 10)
        'two lines…'
    """
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text[: 4 * length]).split())
    return line if len(line) <= length else line[: length - 1] + "…"


class Bar:
    """A progress bar on standard error, drawn only on a terminal; call it with (done, total)."""

    def __init__(self, label: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        console = Console(stderr=True)
        self._progress: Progress = RichProgress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        )
        self._task = self._progress.add_task(label, total=None)

    def __enter__(self) -> Self:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the bar."""
        self._progress.stop()

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` steps are behind us."""
        self._progress.update(self._task, completed=done, total=total)
