"""`prefroute data fetch`: public sets by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefroute.cli.options import JsonTo
from prefroute.cli.output import Output, table_of
from prefroute.errors import ConfigError

if TYPE_CHECKING:
    from prefroute.data.fetch import Fetched

__all__ = ["fetch"]


def fetch(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A public set; --list shows them.")] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Folder for the files. Default: data/NAME.")
    ] = None,
    show_list: Annotated[bool, typer.Option("--list", help="Show the sets that there are, and fetch none.")] = False,
    json_to: JsonTo = None,
) -> None:
    """Fetch a public set by name: pinned, checked, resumed where it broke off. Large sets are hundreds of megabytes.

    Example: prefroute data fetch --list

    Example: prefroute data fetch routellm-benchmarks --to data/routellm
    """
    output = Output(json_to)
    if show_list:
        _show(output)
        return
    if name is None:
        raise ConfigError("data fetch needs the name of a set. `prefroute data fetch --list` shows them.")
    done = _fetched(name, to or Path("data") / name)
    output.result(_as_json(done))
    n_bytes, n_there = sum(file.size_bytes for file in done.files), sum(file.was_there for file in done.files)
    there = f" ({n_there:,} were there and are unchanged)" if n_there else ""
    output.say(f"{done.name}: {len(done.files):,} files, {n_bytes:,} bytes in {done.folder}{there}")
    output.say(f"From {done.repository} at {done.revision or 'a revision that the host does not name'}")
    for command in done.use:
        output.say(f"Next: {command}")


def _fetched(name: str, folder: Path) -> Fetched:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from prefroute.data import fetch as fetch_set

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("Fetching", total=None)

        def show(path: str, done: int, total: int | None) -> None:
            bar.update(task, description=Path(path).name, completed=done, total=total)

        return fetch_set(name, folder, progress=show)


def _as_json(done: Fetched) -> dict[str, Any]:
    files = [
        {"path": it.path, "size_bytes": it.size_bytes, "sha256": it.sha256, "was_there": it.was_there}
        for it in done.files
    ]
    return {
        "schema": 1,
        "name": done.name,
        "folder": str(done.folder),
        "repository": done.repository,
        "revision": done.revision,
        "files": files,
    }


def _show(output: Output) -> None:
    from prefroute.data import PUBLIC_SETS

    shown = table_of("name", "what", "from", "licence")
    rows = []
    for name, it in PUBLIC_SETS.items():
        shown.add_row(
            name, it.about + (" (not fetched: pickles only)" if it.refused else ""), it.repository, it.licence
        )
        rows.append(
            {
                "name": name,
                "about": it.about,
                "repository": it.repository,
                "revision": it.revision,
                "licence": it.licence,
                "refused": it.refused or None,
            }
        )
    output.result({"schema": 1, "sets": rows})
    output.say(shown)
    for name, it in PUBLIC_SETS.items():
        if it.refused:
            output.say(f"{name} is not fetched: {it.refused}")
