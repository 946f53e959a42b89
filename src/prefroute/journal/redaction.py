"""Patterns that are cut out of prompts before they are stored, and out of stored ones afterwards.

The door is `Redaction`. What it knows by name finds most of what it names, not all: who must not store a thing should
not switch the storing of prompts on.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

from prefroute.errors import ConfigError, nearest

__all__ = ["PATTERNS", "Redaction"]

PATTERNS: Mapping[str, str] = {
    "email": r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+",
    "phone": r"(?<![\w.])\+?\d(?:[ ()./-]{0,2}\d){7,14}(?![\w])",
    "card": r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)",
    "iban": r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b",
    "ip": r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])",
    "secret": r"\b(?:sk|pk|pr|ghp|gho|xox[abp]|AKIA|eyJ)[-_A-Za-z0-9.]{16,}",
}
"""What can be named in `redact`; each looks at a long word once, so that no text takes long."""


class Redaction:
    """Replaces what its patterns find by `[NAME]`, or by `[redacted]` where a pattern has no name.

    Args:
        patterns: Names in `PATTERNS`, or regular expressions of Python.

    Raises:
        ConfigError: If one is neither.

    Example:
        >>> Redaction(["email"])("write to ann@example.org")
        'write to [email]'
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._rules = [
            (_compile(pattern), f"[{pattern if pattern in PATTERNS else 'redacted'}]") for pattern in patterns
        ]

    def __call__(self, text: str) -> str:
        """The text without what the patterns find."""
        for rule, replacement in self._rules:
            text = rule.sub(lambda _, put=replacement: put, text)  # type: ignore[misc]  # a default, bound early
        return text


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        rule = re.compile(PATTERNS.get(pattern, pattern))
    except re.error as exc:
        raise ConfigError(
            f"Redaction {pattern!r} is neither one of {', '.join(PATTERNS)} nor a regular expression ({exc})."
        ) from exc
    if pattern.isalpha() and pattern not in PATTERNS and difflib.get_close_matches(pattern, PATTERNS, n=1, cutoff=0.75):
        raise ConfigError(f"{nearest(pattern, PATTERNS, 'redaction')} If you mean the word itself, write ({pattern}).")
    if rule.match(""):
        raise ConfigError(f"Redaction {pattern!r} matches the empty text. Write one that needs at least a character.")
    return rule
