"""Reads a YAML file into a pydantic model: every problem in one message, each with its file, line and key.

The door is `read_file`. It knows no setting by name: the model says what a file may hold. A model's validators find the
file's folder under "folder" and its plain values under "values" of their context, for paths and for names that one
section takes from another.

YAML is composed to nodes, not loaded: nodes keep their lines, duplicate keys are still visible, and an alias can be
counted before it is expanded (a few hundred bytes of nested aliases expand to gigabytes otherwise).
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from prefroute.errors import ConfigError
from prefroute.settings.environment import variable

__all__ = ["REFERENCE", "Expanded", "Key", "ReadFile", "read_file"]

_MAX_BYTES = 1_000_000
_MAX_VALUES = 10_000
_MAX_DEPTH = 40
# where pydantic's own text speaks of Python rather than of the file
_WORDING = {
    "model_type": "must be a section of `key: value` lines",
    "tuple_type": "must be a list: [a, b]",
    "dict_type": "must be a section of `key: value` lines",
    "path_type": "must be a path, as text",
    "string_type": "must be text, in quotes where YAML would read it as something else",
}

REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""How a value names an environment variable."""

Key = tuple[str | int, ...]
"""Where a value stands in the file: names of sections and places in lists."""

_Model = TypeVar("_Model", bound=BaseModel)


class Expanded(str):
    """Text in which `${NAME}` was replaced.

    Attributes:
        template: What stands in the file.
    """

    template: str


@dataclass(frozen=True, slots=True)
class ReadFile(Generic[_Model]):
    """What was read, and where each key stands, so that a later problem can name its line too.

    Attributes:
        path: The file.
        value: Its content, checked.
        lines: The line of each key, 1-based.
        sha256: Of the file's bytes, hexadecimal.
    """

    path: Path
    value: _Model
    lines: Mapping[Key, int]
    sha256: str

    def error(self, problems: Iterable[tuple[Key, str]]) -> ConfigError:
        """One error for all problems, each the key at fault and what is wrong with it."""
        return _error(self.path, [(_line(key, self.lines), f"{_dotted(key)}: {text}") for key, text in problems])


class _Overflow(Exception):
    """The document expands to more than a settings file can need."""


@dataclass(slots=True)
class _Document:
    """Plain values of a YAML tree, with what only the nodes know.

    Attributes:
        lines: The line of each key path, 1-based.
        problems: (line, text) of what is wrong already at this level.
        secret: Paths whose value came from the environment: never shown.
        broken: Paths whose problem is known already.
        needless: Names of settings that are None where their environment variable is not set; within a section of such
            a name, the text is empty.
    """

    loader: yaml.SafeLoader
    needless: Collection[str] = ()
    lines: dict[Key, int] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)
    secret: set[Key] = field(default_factory=set)
    broken: set[Key] = field(default_factory=set)
    n_values: int = 0

    def build(self, node: yaml.Node, key: Key = ()) -> Any:
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

    def _mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
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

    def _scalar(self, node: yaml.Node, key: Key) -> Any:
        try:
            value = self.loader.construct_object(node)
        except (yaml.YAMLError, ValueError, OverflowError, AttributeError, LookupError, TypeError):
            self._break(key, "not a plain value. Quote it as text")
            return None
        if not isinstance(value, str) or "${" not in value:
            return value
        self.secret.add(key)
        return self._expand(value, key)

    def _expand(self, text: str, key: Key) -> Expanded | None:
        for name in REFERENCE.findall(text):
            if variable(name) is None:
                if key[-1] in self.needless:
                    return None
                if not set(key).isdisjoint(self.needless):
                    continue
                self._break(key, f"the environment variable {name} is not set. Set it, or drop the line")
        expanded = Expanded(REFERENCE.sub(lambda match: variable(match[1]) or "", text))
        expanded.template = text
        return expanded

    def _break(self, key: Key, text: str) -> None:
        self.broken.add(key)
        self.problems.append((self.lines[key], f"{_dotted(key)}: {text}"))


def read_file(
    path: Path | str, model: type[_Model], *, starter: str, needless: Collection[str] = ()
) -> ReadFile[_Model]:
    """The content of a YAML file, checked as a whole.

    Args:
        path: The file.
        model: What it may hold.
        starter: The command that writes one to start from, for who has none yet.
        needless: Names of optional settings whose environment variables need not be set: they are None then, or, of a
            section, have empty text in the places.

    Raises:
        ConfigError: If the file cannot be read or anything in it is wrong; the message lists every problem with its
            file, line and key, and shows no value that came from the environment.
    """
    file = Path(path)
    raw = _bytes(file, starter)
    try:
        document = _Document(yaml.SafeLoader(_decoded(file, raw)), needless)
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
    value = _validated(file, values, model, document)
    return ReadFile(file, value, document.lines, hashlib.sha256(raw).hexdigest())


def _bytes(file: Path, starter: str) -> bytes:
    try:
        with file.open("rb") as stream:
            raw = stream.read(_MAX_BYTES + 1)
    except OSError as exc:
        hint = f" Run `{starter}` to write one." if isinstance(exc, FileNotFoundError) else ""
        raise ConfigError(f"Cannot read settings {file}: {exc.strerror or exc}.{hint}") from exc
    if len(raw) > _MAX_BYTES:
        raise ConfigError(f"{file} is larger than {_MAX_BYTES:,} bytes: this is not a settings file.")
    return raw


def _decoded(file: Path, raw: bytes) -> str:
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


def _validated(file: Path, values: dict[str, Any], model: type[_Model], document: _Document) -> _Model:
    context = {"folder": file.parent, "values": values}
    found = None
    try:
        found = model.model_validate(values, context=context)
    except ValidationError as exc:
        for error in exc.errors(include_url=False):
            if tuple(error["loc"]) not in document.broken:
                document.problems.append(_problem(error["loc"], error["type"], error["msg"], values, model, document))
    if found is None or document.problems:
        raise _error(file, document.problems)
    return found


def _error(file: Path, problems: Iterable[tuple[int, str]]) -> ConfigError:
    texts = [f"{file}:{line}: {_printable(text).rstrip('.')}" for line, text in sorted(set(problems))]
    return ConfigError(f"{file}: {len(texts)} problems:", texts) if len(texts) > 1 else ConfigError(f"{texts[0]}.")


def _problem(
    loc: Sequence[str | int],
    kind: str,
    message: str,
    values: dict[str, Any],
    model: type[BaseModel],
    document: _Document,
) -> tuple[int, str]:
    key = tuple(loc)
    while key and key not in document.lines:  # pydantic adds parts of its own for unions; the file has no such key
        key = key[:-1]
    line = document.lines.get(key, 1)
    if kind == "missing":
        return line, f"{_dotted(key)}: `{loc[-1]}` is missing"
    if kind == "extra_forbidden":
        known = _fields(model, key[:-1])
        close = difflib.get_close_matches(str(key[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
        return line, f"{_dotted(key)}: not a setting ({hint})"
    got: Any = values
    for part in key:
        got = got[part]
    if kind == "value_error":  # our own words, which say what was got where that helps
        text = message.removeprefix("Value error, ")
        return line, f"{_dotted(key)}: {_masked(text, got) if key in document.secret else text}"
    text = _WORDING.get(kind, message.removeprefix("Input "))
    shown = isinstance(got, str | int | float) and key not in document.secret and "api_key" not in key
    return line, f"{_dotted(key)}: {text}" + (f", got {_short(got)}" if shown else "")


def _fields(model: type[BaseModel], section: Key) -> list[str]:
    """Names of the settings in a section: a model's fields, through optional sections and named ones."""
    where: Any = model
    for part in section:
        where = get_args(where)[1] if get_origin(where) is dict else _section(where).model_fields[str(part)].annotation
    return sorted(_section(where).model_fields)


def _section(annotation: Any) -> type[BaseModel]:
    options = [annotation, *get_args(annotation)]
    return next(option for option in options if isinstance(option, type) and issubclass(option, BaseModel))


def _line(key: Key, lines: Mapping[Key, int]) -> int:
    """The line of a key, or of the section that should hold it."""
    return next((lines[key[:n]] for n in range(len(key), 0, -1) if key[:n] in lines), 1)


def _masked(text: str, secret: object) -> str:
    """The text without a value that came from the environment, as it is and as `repr` writes it."""
    for shown in {str(secret), repr(str(secret))[1:-1]} - {""}:
        text = text.replace(shown, "***")
    return text


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _printable(text: str) -> str:
    """The text on one line, whatever a name in the file holds."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def _dotted(key: Key) -> str:
    return ".".join(str(part) for part in key) or "the file"
