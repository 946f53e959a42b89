"""The command line: every command parses, calls one door of a room below and prints. The door is `main`.

Nothing here computes, and no room below prints. Heavy libraries are imported inside the commands, so that `--help`
stays quick.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command that the words on the line name, and exit."""
    try:
        from prefroute.cli.app import main as run
    except KeyboardInterrupt:  # Ctrl-C while the program was starting
        sys.exit(130)
    run()
