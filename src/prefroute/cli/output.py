"""Where a command's words and numbers go: a console for people, a file for programs."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, product
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import typer

from prefroute.errors import ConfigError, DataError, MissingExtraError
from prefroute.files import replacing

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress
    from rich.table import Table

    from prefroute.train.progress import Look

__all__ = [
    "Bar",
    "Output",
    "TrainingBar",
    "check_extra",
    "check_writable",
    "own_command",
    "printable",
    "shorten",
    "table_of",
    "write_text",
]

_PIPE_WIDTH = 176  # columns of a table that is not printed to a terminal


class Output:
    """One command's output.

    Args:
        json_to: Where the result goes as JSON: a file, "-" for standard output (people's text then moves to
            standard error), or None for nowhere.
        files: The other files that the command writes, by the option that names each; None where it was not given.

    Raises:
        ConfigError: If a file cannot be written, or two options name one: better now than after the work.
    """

    def __init__(self, json_to: str | None, files: Mapping[str, Path | None] | None = None) -> None:
        from rich.console import Console

        named = {"--json": None if json_to in (None, "-") else Path(json_to), **(files or {})}
        self._files = {option: path for option, path in named.items() if path is not None}
        for option, path in self._files.items():
            check_writable(path, option)
        for (one, path), (other, taken) in combinations(self._files.items(), 2):
            if _is_same(path, taken):
                raise ConfigError(f"{other} and {one} are one file, {str(path)!r}. Give each a file of its own.")
        self.json_to = json_to
        stream = (sys.stderr if json_to == "-" else sys.stdout) or io.StringIO()  # a closed stream swallows the words
        width = None if stream.isatty() else _PIPE_WIDTH
        self.console: Console = Console(file=stream, width=width, highlight=False)

    def spare(self, *sources: str | Path | None) -> None:
        """Refuse, before any work is done, to write over what the command reads.

        Args:
            sources: Files, tables (folders and globs too), checkpoints; words that name none of them are passed over.

        Raises:
            ConfigError: If a file that is written is one of them, under whatever name.
        """
        if not self._files:
            return
        inputs = [read for source in sources if source is not None for read in _files_of(Path(source))]
        for (option, path), read in product(self._files.items(), inputs):
            if _is_same(path, read):
                raise ConfigError(
                    f"{option} {str(path)!r} would write over {str(read)!r}, which is read here. Choose another file."
                )

    @property
    def width(self) -> int:
        """Columns that a table may take."""
        return self.console.width

    def say(self, *what: RenderableType) -> None:
        """Print for people: a line of text stays one line where no terminal shows it."""
        from rich.table import Table

        is_text = not any(isinstance(part, Table) for part in what)
        self.console.print(*what, markup=False, emoji=False, soft_wrap=is_text and not self.console.is_terminal)

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


def _is_same(path: Path, other: Path) -> bool:
    """Whether the two are one file, however they are spelled and linked; devices and pipes may be shared."""
    if path.exists() and other.exists():
        return path.is_file() and path.samefile(other)
    return path.resolve() == other.resolve()


def _files_of(source: Path) -> Sequence[Path]:
    """The files that are read where a command is given this path."""
    from prefroute.data.sidecar import choose_files

    if os.path.isfile(source / "router.json"):  # unlike `is_file`, False where the name is too long to be one
        return [path for path in source.iterdir() if path.suffix != ".json" or path.stem in ("router", "policy")]
    try:
        files, beside = choose_files(source)
    except DataError:  # no table; whoever reads it says what is wrong
        return [source] if os.path.isfile(source) else []
    return files if beside is None else (*files, beside)


def table_of(*columns: str) -> Table:
    """An empty table that cuts nothing: in a narrow terminal the first column stays whole, and the others fold."""
    from rich.table import Column, Table
    from rich.text import Text

    return Table(*(Column(Text(name), no_wrap=not i, overflow="fold") for i, name in enumerate(columns)))


def check_writable(path: Path, option: str) -> None:
    """Refuse a file that cannot be written, before any work is done.

    Raises:
        ConfigError: If the folder does not exist or may not be written, or the path is a folder.
    """
    if path.is_dir():
        raise ConfigError(f"{option} must be a file, got the folder {str(path)!r}.")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{option}: no folder {str(path.parent)!r} to write {path.name!r} into. Make it first.")
    is_device = path.exists() and not path.is_file()
    if not is_device and not os.access(path.resolve().parent, os.W_OK | os.X_OK):
        raise ConfigError(f"{option}: the folder of {str(path)!r} may not be written. Choose another.")


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
    with replacing(target) as beside:
        beside.write_text(text, encoding="utf-8")


def printable(text: str) -> str:
    """One line of the text, without what would act on a terminal."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def shorten(text: str, length: int) -> str:
    r"""One printable line of at most `length` characters; control characters never reach the terminal.

    Example:
        >>> shorten("two\nlines, and more", 10)
        'two lines…'
    """
    line = printable(text[: 4 * length])
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


class TrainingBar(Bar):
    """A bar with the losses beside it; where no terminal shows it, a line of text for each twentieth of the training.

    Call it as `prefroute.train.progress.Progress` says.
    """

    def __init__(self) -> None:
        super().__init__("Training")
        self._told = -1  # twentieths of the steps at the line before

    def __call__(self, done: int, total: int, look: Look | None = None) -> None:
        """Show how far the training is, and the losses that were taken last."""
        super().__call__(done, total)
        if look is None:
            return
        self._progress.update(self._task, description=f"Training  {look}")
        if self._progress.disable and 20 * done // total != self._told:
            self._told = 20 * done // total
            typer.echo(f"Training: step {done:,} of {total:,}  {look}", err=True)
