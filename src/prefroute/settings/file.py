"""Reads `prefroute.yaml`: every problem of the file in one message, each with its line and key.

YAML is composed to nodes, not loaded: nodes keep their lines, duplicate keys are still visible, and an alias can be
counted before it is expanded (a few hundred bytes of nested aliases expand to gigabytes otherwise).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from prefroute.errors import ConfigError
from prefroute.settings.environment import variable
from prefroute.settings.model import Settings

__all__ = ["read_settings"]

_MAX_BYTES = 1_000_000
_MAX_VALUES = 10_000
_MAX_DEPTH = 40
# where pydantic's own text speaks of Python rather than of the file
_WORDING = {
    "model_type": "must be a section of `key: value` lines",
    "tuple_type": "must be a list: [a, b]",
    "dict_type": "must be a section of `key: value` lines",
    "path_type": "must be a path, as text",
}
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

_Key = tuple[str | int, ...]


class _Overflow(Exception):
    """The document expands to more than a settings file can need."""


@dataclass(slots=True)
class _Document:
    """Plain values of a YAML tree, with what only the nodes know.

    Attributes:
        lines: The line of each key path, 1-based.
        problems: (line, text) of what is wrong already at this level.
        secret: Paths whose value came from the environment: never shown.
    """

    loader: yaml.SafeLoader
    lines: dict[_Key, int] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)
    secret: set[_Key] = field(default_factory=set)
    n_values: int = 0

    def build(self, node: yaml.Node, key: _Key = ()) -> Any:
        """The value of a node: dict, list or scalar; problems are collected, not raised."""
        self.n_values += 1
        if self.n_values > _MAX_VALUES or len(key) > _MAX_DEPTH:
            raise _Overflow
        self.lines.setdefault(key, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, key)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*key, i)) for i, item in enumerate(node.value)]
        return self._scalar(node, key)

    def _mapping(self, node: yaml.MappingNode, key: _Key) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name_node, value_node in node.value:
            line = name_node.start_mark.line + 1
            if not isinstance(name_node, yaml.ScalarNode):
                self.problems.append((line, f"{_dotted(key)}: a key must be a word"))
                continue
            name = name_node.value
            path = (*key, name)
            if name in values:
                self.problems.append((line, f"{_dotted(path)}: stands here twice, first on line {self.lines[path]}"))
                continue
            self.lines[path] = line
            values[name] = self.build(value_node, path)
        return values

    def _scalar(self, node: yaml.Node, key: _Key) -> Any:
        try:
            value = self.loader.construct_object(node)
        except (yaml.YAMLError, ValueError, OverflowError, AttributeError, LookupError, TypeError):
            self.problems.append((node.start_mark.line + 1, f"{_dotted(key)}: not a plain value. Quote it as text"))
            return None
        if not isinstance(value, str) or "${" not in value:
            return value
        self.secret.add(key)
        return self._expand(value, key)

    def _expand(self, text: str, key: _Key) -> str:
        for name in _REFERENCE.findall(text):
            if variable(name) is None:
                where = _dotted(key)
                self.problems.append(
                    (self.lines[key], f"{where}: the environment variable {name} is not set. Set it, or drop the line")
                )
        return _REFERENCE.sub(lambda match: variable(match[1]) or "", text)


def read_settings(path: Path | str) -> Settings:
    """See `prefroute.settings.load_settings`."""
    file = Path(path)
    text = _text(file)
    try:
        document = _Document(yaml.SafeLoader(text))
        root = document.loader.get_single_node()
        values = {} if root is None else document.build(root)
    except yaml.MarkedYAMLError as exc:
        raise ConfigError(_syntax(file, exc)) from exc
    except yaml.YAMLError as exc:
        raise ConfigError(f"{file}: holds a character that YAML does not allow. Save it as plain text.") from exc
    except (_Overflow, RecursionError) as exc:
        raise ConfigError(
            f"{file}: expands too far for settings. Write at most {_MAX_VALUES:,} values, without nested anchors."
        ) from exc
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError(f"{file}:1: the file must hold `key: value` lines, got one {type(values).__name__}.")
    return _validated(file, values, document)


def _text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            raw = stream.read(_MAX_BYTES + 1)
    except OSError as exc:
        hint = " Run `prefroute init` to write one." if isinstance(exc, FileNotFoundError) else ""
        raise ConfigError(f"Cannot read settings {file}: {exc.strerror or exc}.{hint}") from exc
    if len(raw) > _MAX_BYTES:
        raise ConfigError(f"{file} is larger than {_MAX_BYTES:,} bytes: this is not a settings file.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{file} is not UTF-8 text (byte {exc.start}). Save it as UTF-8.") from exc


def _syntax(file: Path, exc: yaml.MarkedYAMLError) -> str:
    mark = exc.problem_mark or exc.context_mark
    line = f":{mark.line + 1}" if mark else ""
    if exc.problem and r"'\t'" in exc.problem:
        return f"{file}{line}: a tab stands where YAML wants spaces. Indent with spaces."
    return f"{file}{line}: not valid YAML: {exc.problem or exc.context}. Check the indentation, quotes and brackets."


def _validated(file: Path, values: dict[str, Any], document: _Document) -> Settings:
    # a section that holds only comments is None in YAML: it means "all defaults"
    present = {name: value for name, value in values.items() if value is not None}
    try:
        settings = Settings.model_validate(present)
    except ValidationError as exc:
        for error in exc.errors(include_url=False):
            document.problems.append(_problem(error["loc"], error["type"], error["msg"], present, document))
        settings = None
    if settings is None or document.problems:
        texts = [f"{file}:{line}: {text}" for line, text in sorted(set(document.problems))]
        head = f"{file}: {len(texts)} problems: " if len(texts) > 1 else ""
        raise ConfigError(head + "; ".join(texts) + ".")
    return _resolved(settings, file.parent)


def _problem(
    loc: Sequence[str | int], kind: str, message: str, values: dict[str, Any], document: _Document
) -> tuple[int, str]:
    key = tuple(loc)
    while key and key not in document.lines:  # pydantic adds parts of its own for unions; the file has no such key
        key = key[:-1]
    line = document.lines.get(key, 1)
    if kind == "extra_forbidden":
        known = _fields(key[:-1])
        close = difflib.get_close_matches(str(key[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
        return line, f"{_dotted(key)}: not a setting ({hint})"
    text = _WORDING.get(kind, message.removeprefix("Value error, ").removeprefix("Input "))
    got: Any = values
    for part in key:
        got = got[part]
    shown = isinstance(got, str | int | float) and key not in document.secret and "api_key" not in key
    return line, f"{_dotted(key)}: {text}" + (f", got {_short(got)}" if shown else "")


def _fields(section: _Key) -> list[str]:
    model: type[BaseModel] = Settings
    for part in section:
        annotation = model.model_fields[str(part)].annotation
        options = [annotation, *get_args(annotation)]
        model = next(option for option in options if isinstance(option, type) and issubclass(option, BaseModel))
    return sorted(model.model_fields)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _dotted(key: _Key) -> str:
    return ".".join(str(part) for part in key) or "the file"


def _resolved(settings: Settings, folder: Path) -> Settings:
    def under(path: Path | None) -> Path | None:
        try:
            return None if path is None else folder / path.expanduser()
        except RuntimeError as exc:
            raise ConfigError(f"{path}: there is no such user. Write the path out.") from exc

    train = settings.train.model_copy(
        update={"data": tuple(under(path) for path in settings.train.data), "out": under(settings.train.out)}
    )
    return settings.model_copy(update={"data_dir": under(settings.data_dir), "train": train})
