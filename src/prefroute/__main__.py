"""`python -m prefroute`: the same as the `prefroute` command."""

from __future__ import annotations

from prefroute.cli import main

main()
