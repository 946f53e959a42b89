"""Files as one DuckDB view: the only place that opens tables, and the only one that imports DuckDB.

Every file becomes rows with `_file` (index of the file) and `_row` (1 for the first data row; the line of JSONL), in
the files' own order. CSV and JSON values come as text; Parquet keeps its types. What a value means is decided in
`prefroute.data.schemas`.
"""

# ruff: noqa: S608 - the SQL holds names and values only through `source.quote` and `source.text`
from __future__ import annotations

import codecs
import csv
import glob
import gzip
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import orjson

from prefroute.errors import DataError

__all__ = [
    "FORMATS",
    "LONE_SURROGATE",
    "SIDECARS",
    "Source",
    "connect",
    "explain",
    "find_files",
    "format_of",
    "open_bytes",
    "open_source",
    "quote",
    "text",
]

FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
"""Suffix -> format; CSV and JSONL may also end in .gz."""

SIDECARS = ("prompts", "questions", "question")
"""Names (without suffix) of the table that holds the prompts of the outcome tables beside it."""

LONE_SURROGATE = "got half of a character (a lone surrogate), wanted valid Unicode. Write \\ufffd in its place."
"""What is wrong with text such as "\\ud800", which JSON can spell and no encoding can hold."""

_OWN_COLUMNS = ("_file", "_row", "_key")
_MAX_JSON_BYTES = 64 * 2**20
_MAX_CSV_LINE_BYTES = 4 * 2**20  # DuckDB holds a buffer of twice this for each open file
_MEMORY_LIMIT = "1GB"  # DuckDB's own share; it spills to disk beyond, the rows themselves go to NumPy and a list


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Tables that were opened, as a view of a DuckDB connection.

    Attributes:
        connection: Holds the view; closed by whoever opened the source.
        view: Name of the view: the columns, then `_file` and `_row`.
        columns: Column name -> DuckDB type, without `_file` and `_row`.
        files: The files in the order of `_file`.
    """

    connection: Any
    view: str
    columns: dict[str, str]
    files: tuple[Path, ...]

    def where(self, file: int, row: int) -> str:
        """A place for messages: file name and row."""
        return f"{self.files[file].name}, row {row}"


def connect() -> Any:
    """A private in-memory DuckDB connection with bounded memory and no access to extensions."""
    import duckdb

    connection = duckdb.connect(
        config={
            "memory_limit": _MEMORY_LIMIT,
            "autoinstall_known_extensions": "false",
            "preserve_insertion_order": "true",
        }
    )
    connection.execute("SET enable_progress_bar = false")  # it would write to standard output
    return connection


def quote(name: str) -> str:
    """The name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """The value as an SQL string."""
    return "'" + value.replace("'", "''") + "'"


def find_files(path: str | Path) -> tuple[Path, ...]:
    """The table files that a file, folder or glob names, sorted.

    Raises:
        DataError: If nothing is there, or a file has no known suffix.
    """
    root = Path(path)
    try:
        root.stat()
    except FileNotFoundError:  # perhaps a glob
        pass
    except OSError as error:
        raise DataError(f"{root.name[:60]!r} cannot be read: {error.strerror}. Check the path.") from error
    if root.is_dir():
        found = sorted(file for file in root.iterdir() if file.is_file() and format_of(file))
        if not found:
            raise DataError(f"Folder {root.name!r} holds no table. Wanted: {_wanted()}.")
        return tuple(found)
    if root.is_file():
        if not format_of(root):
            raise DataError(f"{root.name}: unknown suffix {root.suffix!r}. Wanted: {_wanted()}.")
        return (root,)
    found = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if format_of(Path(name)))
    if not found:
        raise DataError(f"No file, folder or glob {str(path)!r}. Check the path; wanted: {_wanted()}.")
    return tuple(found)


def open_source(connection: Any, view: str, files: Sequence[Path]) -> Source:
    """The files, which must have the same columns, as one view.

    Raises:
        DataError: If a file is empty, cannot be read, or has other columns than the first.
    """
    selects: list[str] = []
    columns: dict[str, str] = {}
    for index, file in enumerate(files):
        reader = _reader(connection, file)
        found = _describe(connection, file, reader)
        if index == 0:
            columns = found
        elif set(found) != set(columns):
            odd = sorted(set(found) ^ set(columns))[0]
            raise DataError(
                f"{file.name} and {files[0].name} have different columns (such as {odd!r}). Name one file, or a glob "
                "of files with the same columns."
            )
        selects.append(f"SELECT *, {index} AS _file, row_number() OVER () AS _row FROM {reader}")
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {view} AS {' UNION ALL BY NAME '.join(selects)}")
    return Source(connection, view, columns, tuple(files))


def explain(source: Source, error: Exception) -> DataError:
    """What is wrong with the file that DuckDB could not read to its end."""
    import duckdb

    is_typed = format_of(source.files[0]) == "parquet"
    if is_typed and isinstance(error, duckdb.BinderException | duckdb.ConversionException):
        nested = [f"{name!r} ({kind[:40]})" for name, kind in source.columns.items() if kind.endswith((")", "]"))]
        such = f", such as {' or '.join(nested[:3])}" if nested else ""
        return DataError(
            f"{source.files[0].name}: a column has a type that cannot be used here{such}. Write prompts and names as "
            "text, scores as numbers."
        )
    for file in source.files:
        problem = _diagnose(file)
        if problem:
            return DataError(problem)
    names = ", ".join(file.name for file in source.files[:3])
    return DataError(f"{names}: cannot be read ({_first_line(error)}). Write the file again or check its format.")


def literal(file: Path) -> str:
    """The path as DuckDB must be told it, which else takes `*`, `?` and `[` in a name for a pattern."""
    return re.sub(r"([*?\[])", r"[\1]", str(file))


def _reader(connection: Any, file: Path) -> str:
    """The table function that reads one file."""
    kind = format_of(file)
    if file.stat().st_size == 0:
        raise DataError(f"{file.name}: the file is empty. Wanted: a table with a header and at least one row.")
    if kind == "parquet":
        _check_names(file, _parquet_names(connection, file))
        return f"read_parquet({text(literal(file))})"
    if kind == "csv":
        delimiter = "\t" if ".tsv" in file.suffixes else ","
        names = _csv_header(file, delimiter)
        _check_names(file, names)
        types = ", ".join(f"{text(name)}: 'VARCHAR'" for name in names)
        return (
            f"read_csv({text(literal(file))}, auto_detect=false, header=true, delim={text(delimiter)}, quote='\"', "
            f"escape='\"', columns={{{types}}}, max_line_size={_MAX_CSV_LINE_BYTES}, "
            f"buffer_size={2 * _MAX_CSV_LINE_BYTES}, strict_mode=true)"
        )
    options = f"format='newline_delimited', maximum_object_size={_MAX_JSON_BYTES}"
    names = _json_keys(connection, file, options)
    _check_names(file, names)
    types = ", ".join(f"{text(name)}: 'VARCHAR'" for name in names)
    return f"read_json({text(literal(file))}, {options}, columns={{{types}}})"


def _describe(connection: Any, file: Path, reader: str) -> dict[str, str]:
    try:
        rows = connection.execute(f"DESCRIBE SELECT * FROM {reader}").fetchall()
    except Exception as error:  # DuckDB has no one error type for unreadable files
        raise DataError(_diagnose(file) or f"{file.name}: cannot be read ({_first_line(error)}).") from error
    return {str(row[0]): str(row[1]) for row in rows}


def _check_names(file: Path, names: Sequence[str]) -> None:
    """Refuse columns that cannot stand side by side in DuckDB, which takes no notice of case."""
    spelled: dict[str, str] = {}
    for name in names:
        if not name or name.lower() in _OWN_COLUMNS:
            raise DataError(f"{file.name}: a column is named {name!r}, which cannot be read. Rename it.")
        other = spelled.setdefault(name.lower(), name)
        if other != name:
            raise DataError(
                f"{file.name}: the columns {other!r} and {name!r} differ only in case, which cannot be read. Rename "
                "one; models that are called so go into a table with a row for each answer (prompt, model, score)."
            )


def _parquet_names(connection: Any, file: Path) -> list[str]:
    """The columns as the file spells them; DuckDB would rename those that differ only in case."""
    try:
        rows = connection.execute(f"SELECT name, num_children FROM parquet_schema({text(literal(file))})").fetchall()
    except Exception as error:  # DuckDB has no one error type for unreadable files
        raise DataError(_diagnose(file) or f"{file.name}: cannot be read ({_first_line(error)}).") from error
    names, n_nested = [], 0
    for name, n_children in rows[1:]:  # the first is the root; after each come those that are nested in it
        if n_nested:
            n_nested -= 1
        else:
            names.append(str(name))
        n_nested += n_children or 0
    return names


def _csv_header(file: Path, delimiter: str) -> list[str]:
    try:
        with open_bytes(file) as raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as lines:
            names = next(csv.reader(lines, delimiter=delimiter), [])
    except (UnicodeDecodeError, csv.Error, OSError, EOFError) as error:
        raise DataError(_diagnose(file) or f"{file.name}, line 1: not a CSV header ({error}).") from error
    # An index written without a name, as pandas does, is a column nobody asks for.
    named = [name if name else f"unnamed_{i}" for i, name in enumerate(names)]
    twice = sorted({name for name in named if named.count(name) > 1})
    if not names or twice:
        got = f"the column {twice[0]!r} twice" if twice else "an empty first line"
        raise DataError(f"{file.name}, line 1: got {got}, wanted a header that names each column once.")
    return named


def _json_keys(connection: Any, file: Path, options: str) -> list[str]:
    """Every key of the file's objects: those of the first object in its order, then the others by name."""
    objects = f"(SELECT json_keys(json) AS keys FROM read_ndjson_objects({text(literal(file))}, {options}))"
    try:
        first = connection.execute(f"SELECT keys FROM {objects} LIMIT 1").fetchall()
        every = connection.execute(f"SELECT DISTINCT unnest(keys) AS name FROM {objects} ORDER BY name").fetchall()
    except Exception as error:  # DuckDB has no one error type for unreadable files
        raise DataError(_diagnose(file) or f"{file.name}: not JSONL ({_first_line(error)}).") from error
    names = list(dict.fromkeys([*(first[0][0] if first else []), *(row[0] for row in every)]))
    if not names:
        raise DataError(_diagnose(file) or f"{file.name}: holds no JSON object. Wanted: one object per line.")
    return names


def _diagnose(file: Path) -> str | None:
    """The first line of a file that is not what its suffix says, as a message; None if none is found."""
    kind = format_of(file)
    if kind == "parquet":
        return f"{file.name}: not a whole Parquet file (truncated or corrupt). Write or download it again."
    encoding = codecs.getincrementaldecoder("utf-8")
    try:
        with open_bytes(file) as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    encoding().decode(line, final=True)
                except UnicodeDecodeError as error:
                    return (
                        f"{file.name}, line {number}: not UTF-8 (byte {line[error.start]:#04x} at position "
                        f"{error.start + 1}). Convert it, e.g. with iconv -f latin1 -t utf-8."
                    )
                if b"\0" in line and kind == "csv":
                    return f"{file.name}, line {number}: holds a NUL byte. Remove it or write Parquet."
                problem = _json_problem(line) if kind == "jsonl" else None
                if problem:
                    return f"{file.name}, line {number}{problem}"
    except (OSError, EOFError) as error:
        return f"{file.name}: cannot be read ({_first_line(error)}). Write or download it again."
    return _csv_problem(file) if kind == "csv" else None


def _csv_problem(file: Path) -> str | None:
    """The first record of a CSV file that is too long, has more or fewer fields than the header, or an open quote."""
    delimiter = "\t" if ".tsv" in file.suffixes else ","
    limit = csv.field_size_limit(_MAX_CSV_LINE_BYTES)
    with open_bytes(file) as raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as lines:
        records = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            wanted = len(next(records))
            for record in records:
                if record and len(record) != wanted:
                    return (
                        f"{file.name}, line {records.line_num}: got {len(record)} fields, wanted {wanted} as in the "
                        "header. Quote fields that hold commas, quotes or line breaks."
                    )
                if sum(len(field.encode()) for field in record) > _MAX_CSV_LINE_BYTES:
                    return f"{file.name}, line {records.line_num}: over 4 MB. Write such rows as JSONL or Parquet."
        except csv.Error as error:
            return (
                f"{file.name}, line {records.line_num}: not valid CSV ({error}). Close and double the quotes; write "
                "rows over 4 MB as JSONL or Parquet."
            )
        finally:
            csv.field_size_limit(limit)
    return None


def _json_problem(line: bytes) -> str | None:
    """What is wrong with a line, as it goes on after the line's number."""
    if not line.strip():
        return None
    if line.startswith(codecs.BOM_UTF8):
        return ": starts with a byte order mark. Save the file as UTF-8 without one."
    wanted = "Wanted: one JSON object per line. Mend the line."
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if column := _surrogate_column(line):
            return f", column {column!r}: {LONE_SURROGATE}"
        return f": not valid JSON ({error.msg} at column {error.colno}). {wanted}"
    return None if isinstance(value, dict) else f": a JSON {type(value).__name__}, not an object. {wanted}"


def _surrogate_column(line: bytes) -> str | None:
    """The key of the first value that holds a lone surrogate; None where that is not what is wrong with the line."""
    try:
        row = json.loads(line)  # takes what orjson refuses
    except (ValueError, RecursionError):
        return None
    for key, value in row.items() if isinstance(row, dict) else ():
        try:
            f"{key}{json.dumps(value, ensure_ascii=False)}".encode()
        except UnicodeEncodeError:
            return str(key).encode("utf-8", "replace").decode()
    return None


def open_bytes(file: Path) -> IO[bytes]:
    """The file, unpacked where it is gzipped."""
    return cast("IO[bytes]", gzip.open(file, "rb")) if file.suffix == ".gz" else file.open("rb")


def format_of(file: Path) -> str | None:
    """The format that the suffix says, one of `FORMATS`; None for any other."""
    suffix = file.with_suffix("").suffix if file.suffix == ".gz" else file.suffix
    kind = FORMATS.get(suffix.lower())
    return None if kind == "parquet" and file.suffix == ".gz" else kind


def _wanted() -> str:
    return ", ".join(FORMATS) + ", or .csv.gz, .jsonl.gz"


def _first_line(error: Exception) -> str:
    """The start of a foreign message: what follows may quote the file's content."""
    said = str(error).strip().split("{")[0].splitlines()
    return said[0][:160] if said and said[0] else type(error).__name__
