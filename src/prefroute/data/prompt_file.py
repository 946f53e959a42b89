"""Prompts in: a line each, JSON Lines, or a `prompt` column of a table, in batches."""

from __future__ import annotations

import io
import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from prefroute.data.plan import PROMPT_COLUMNS, find
from prefroute.data.source import LONE_SURROGATE, format_of, open_bytes
from prefroute.errors import DataError

__all__ = ["batches", "read_prompts"]


def read_prompts(file: str) -> Iterator[str]:
    """The prompts of a file in their order, read as they are asked for.

    Args:
        file: "-" for standard input (a prompt each line), else a path: Parquet, CSV and JSONL, told by the suffixes
            that `load` knows, hold a column `prompt` or one that `load` takes for it; any other file holds a prompt
            each line.

    Raises:
        DataError: If the file cannot be read, or a row has no prompt.
    """
    if file == "-":
        if sys.stdin is None:
            raise DataError("Standard input is closed. Give a prompt, or --file FILE.")
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(encoding="utf-8-sig", errors="strict")
        yield from _lines(sys.stdin, "standard input")
        return
    path = Path(file)
    if not path.is_file():
        raise DataError(f"No file {file!r} to read prompts from. Give a file, or '-' for standard input.")
    kind = format_of(path)
    if kind in ("parquet", "csv"):
        yield from _table(path)
        return
    with open_bytes(path) as raw, io.TextIOWrapper(raw, "utf-8-sig") as stream:
        yield from _json_lines(stream, file) if kind == "jsonl" else _lines(stream, file)


def batches(prompts: Iterable[str], size: int) -> Iterator[list[str]]:
    """Lists of at most `size` prompts, never an empty one."""
    source = iter(prompts)
    while batch := list(itertools.islice(source, size)):
        yield batch


def _lines(stream: TextIO, name: str) -> Iterator[str]:
    n_read = 0
    try:
        for line in stream:
            n_read += 1
            yield line.rstrip("\r\n")
    except UnicodeDecodeError as exc:
        raise DataError(f"{name}: not UTF-8 text after line {n_read}. Save it as UTF-8.") from exc


def _json_lines(stream: TextIO, name: str) -> Iterator[str]:
    for number, line in enumerate(_lines(stream, name), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as exc:
            reason = exc.msg if isinstance(exc, json.JSONDecodeError) else "a number or nesting out of all bounds"
            raise DataError(f"{name}, line {number}: not JSON ({reason}). Each line holds one JSON object.") from exc
        column = find(dict.fromkeys(row, ""), PROMPT_COLUMNS) if isinstance(row, dict) else None
        prompt = None if column is None else row[column]
        if not isinstance(prompt, str):
            raise DataError(f'{name}, line {number}: no text under `prompt`. Each line looks like {{"prompt": ...}}.')
        try:
            prompt.encode()
        except UnicodeEncodeError as exc:
            raise DataError(f"{name}, line {number}, column 'prompt': {LONE_SURROGATE}") from exc
        yield prompt


def _table(path: Path) -> Iterator[str]:
    from prefroute.data.load import read_prompt_column

    for number, prompt in enumerate(read_prompt_column(path), 1):
        if not isinstance(prompt, str):
            got = "nothing" if prompt is None else type(prompt).__name__
            raise DataError(f"{path}, row {number}: the prompt must be text, got {got}. Mend or drop the row.")
        yield prompt
