"""Compute the tables and write the page."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from scripts.results.page import page
from scripts.results.sources import Data
from scripts.results.tables import TABLES, fill

from prefroute.cli.output import Bar, write_text
from prefroute.settings import data_dir

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Fill each table, say how long it took, and write docs/results.md."""
    parser = argparse.ArgumentParser(prog="python -m scripts.results", description=__doc__)
    parser.add_argument("--data", type=Path, default=data_dir(), help="the folder that holds routellm_benchmarks/")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results", help="folder of the JSON files")
    parser.add_argument("--only", action="append", choices=TABLES, help="this table; repeatable")
    parser.add_argument("--fresh", action="store_true", help="compute what is there, too")
    args = parser.parse_args()
    if args.data is None:
        parser.error("--data DIR is missing: name the folder that holds routellm_benchmarks/, or set PREFROUTE_DATA.")
    begin = time.perf_counter()
    with Bar("Results") as bar:  # runs of a table, and prompts while vectors are computed that the cache lacks
        data = Data(args.data, progress=bar)
        for name in args.only or TABLES:
            table_begin = time.perf_counter()
            fill(name, data, args.out / f"{name}.json", fresh=args.fresh, progress=bar)
            print(f"{name}: {time.perf_counter() - table_begin:.0f} s", flush=True)
    write_text(args.out.with_suffix(".md"), page(args.out))
    print(f"{args.out.with_suffix('.md')}: {time.perf_counter() - begin:.0f} s in all")


if __name__ == "__main__":
    main()
