"""How many tokens an answer took: what the upstream says, or an estimate where it says nothing that can be true.

The door is `Tally`, which reads the JSON objects of an answer, one or many. It must not know prices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Tally", "Usage"]

_CHARS_PER_TOKEN = 4
_MOST_TOKENS = 2**31 - 1  # more is no count, and fits no column


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer.

    Attributes:
        tokens_in: Tokens read; None where the upstream did not say.
        tokens_out: Tokens written.
        source: Who counted.
    """

    tokens_in: int | None
    tokens_out: int
    source: Literal["upstream", "estimate"]


class Tally:
    """Counts over the objects of an answer.

    Example:
        >>> tally = Tally()
        >>> tally.read_part({"content": "To be, or not to be"})
        True
        >>> tally.usage
        Usage(tokens_in=None, tokens_out=5, source='estimate')
        >>> tally.read_usage({"prompt_tokens": 9, "completion_tokens": 6})
        >>> tally.usage
        Usage(tokens_in=9, tokens_out=6, source='upstream')
    """

    __slots__ = ("_n_chars", "_tokens_in", "_tokens_out")

    def __init__(self) -> None:
        self._n_chars = 0
        self._tokens_in: int | None = None
        self._tokens_out: int | None = None

    def read_part(self, part: dict[str, Any]) -> bool:
        """Count the text of a message, a delta or a legacy choice, and say whether there is anything beside a role."""
        has_content = False
        for key, value in part.items():
            if not value or key == "role":
                continue
            has_content = True
            if isinstance(value, str):
                self._n_chars += len(value)
            elif key == "tool_calls" and isinstance(value, list):
                self._n_chars += sum(_call_length(call) for call in value)
        return has_content

    def read_usage(self, reported: object) -> None:
        """Take a usage object in; of several, the largest counts hold, since some upstreams report as they go."""
        if not isinstance(reported, dict):
            return
        self._tokens_in = _larger(self._tokens_in, reported.get("prompt_tokens"))
        self._tokens_out = _larger(self._tokens_out, reported.get("completion_tokens"))

    @property
    def usage(self) -> Usage:
        """The counts so far; "nothing written" is not believed where text was."""
        if self._tokens_in is None or (self._tokens_out or 0) == 0 < self._n_chars:
            return Usage(self._tokens_in or None, -(-self._n_chars // _CHARS_PER_TOKEN), "estimate")
        return Usage(self._tokens_in, self._tokens_out or 0, "upstream")


def _larger(known: int | None, said: object) -> int | None:
    if not isinstance(said, int) or isinstance(said, bool) or not 0 <= said <= _MOST_TOKENS:
        return known
    return said if known is None else max(known, said)


def _call_length(call: object) -> int:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return 0
    return sum(len(value) for value in function.values() if isinstance(value, str))
