"""Pictures, sounds and files in a body: set aside while the rest is parsed, since nobody here looks into them.

The doors are `set_aside` and `put_back`. Parsing and writing 20 MiB of base64 holds the event loop for 70 ms, in a
thread too: the parser keeps the interpreter's lock. It must not know what a body means.
"""

from __future__ import annotations

import re
import secrets
from typing import Any, TypeAlias

import numpy as np
import orjson

__all__ = ["Attachments", "put_back", "set_aside"]

Attachments: TypeAlias = dict[str, orjson.Fragment]
"""What was set aside, by what stands in its place."""

_LONG_BYTES = 64 * 1024
_KEYS = ("url", "image_url", "file_data", "data")
# Quotes within a string are escaped, so that `url"` ends one: the name of a member, whose value follows.
_MEMBER = re.compile(rb'"(?:%b)"\s*:\s*"' % "|".join(_KEYS).encode())


def set_aside(raw: bytes | bytearray) -> tuple[bytes | bytearray, Attachments]:
    """The JSON with a short name in place of each long attachment, and the attachments.

    Args:
        raw: JSON, or what pretends to be.
    """
    mark = secrets.token_hex(16)  # else a client could write it, and have its attachment multiplied
    kept: list[bytes | bytearray] = []
    attachments: Attachments = {}
    done = at = 0
    while found := _MEMBER.search(raw, at):
        start = found.end() - 1  # with its quotes
        at = raw.find(b'"', found.end()) + 1 or len(raw)  # without an end to it the rest is no JSON either
        if at - start > _LONG_BYTES and _is_plain(value := bytes(memoryview(raw)[start:at])):
            name = f"{mark}.{len(attachments)}"
            attachments[name] = orjson.Fragment(value)
            kept += [raw[done:start], f'"{name}"'.encode()]
            done = at
    return (b"".join([*kept, raw[done:]]) if attachments else raw), attachments


def put_back(body: Any, attachments: Attachments) -> None:
    """Put attachments into a parsed body, as what is written again as it was.

    Args:
        body: Of what `set_aside` gave; changed in place.
        attachments: Of the same.
    """
    level = [body]
    while level:
        for value in level:
            if isinstance(value, dict):
                value |= {key: attachments[value[key]] for key in _KEYS if _names_one(value.get(key), attachments)}
        items = [inner for value in level for inner in (value.values() if isinstance(value, dict) else value)]
        level = [inner for inner in items if isinstance(inner, (dict, list))]


def _names_one(value: object, attachments: Attachments) -> bool:
    return isinstance(value, str) and value in attachments


def _is_plain(value: bytes) -> bool:
    """Whether a string ends with the first quote after its own, and has nothing in it that a parser would refuse."""
    return value.isascii() and b"\\" not in value and bool(np.frombuffer(value, np.uint8).min() >= ord(" "))
