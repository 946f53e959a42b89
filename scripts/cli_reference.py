"""Prints docs/reference/cli.md from the program itself; a test compares the two.

python scripts/cli_reference.py > docs/reference/cli.md
"""

from __future__ import annotations

import inspect
from typing import Any

import typer.main

from prefroute.cli.app import app

HEAD = """\
# Command line

Made by `python scripts/cli_reference.py`; a test compares it with the program.

Exit codes: 0 it worked; 1 something failed, or `data check` found something; 2 something that you can mend; 130 Ctrl-C.
Errors are one line on standard error, or a line for each problem of a settings file; `--debug`, anywhere on the line,
shows the trace. Progress bars go to standard error, and only to a terminal. `prefroute --install-completion` installs
completion for your shell.

ROUTER is the folder of a checkpoint, `default` (the router that ships inside the package), or, for `evaluate`, a
registered kind. A kind goes before a folder of the same name: write `./knn` for the folder.
"""


def section(name: str, command: Any) -> str:
    """One command as Markdown: what it does, examples, arguments and options."""
    lines = [f"## {name}", "", inspect.cleandoc(command.help or ""), ""]
    if command.params:
        lines += ["| | |", "|---|---|"]
    for param in command.params:
        words = ", ".join(f"`{word}`" for word in param.opts) if param.param_type_name == "option" else ""
        shown = words or f"`{param.metavar or param.name}`"
        metavar = f" `{param.metavar}`" if words and param.metavar else ""
        text = (getattr(param, "help", None) or "").replace("|", "\\|")
        lines.append(f"| {shown}{metavar} | {text} |")
    return "\n".join(lines).rstrip() + "\n"


def reference() -> str:
    """The whole page."""
    root = typer.main.get_command(app)
    parts = [HEAD, section("prefroute", root)]
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        if inner is None:
            parts.append(section(f"prefroute {name}", command))
        else:
            parts += [section(f"prefroute {name} {word}", one) for word, one in inner.items()]
    return "\n".join(parts)


if __name__ == "__main__":
    print(reference(), end="")
