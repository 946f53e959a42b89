"""The command line: every command parses, calls one door of a room below and prints. The door is `main`.

Nothing here computes, and no room below prints. Heavy libraries are imported inside the commands, so that `--help`
stays quick.
"""

from __future__ import annotations

from prefroute.cli.app import main

__all__ = ["main"]
