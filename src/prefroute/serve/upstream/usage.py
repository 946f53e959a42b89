"""How many tokens an answer took: what the upstream says, or an estimate where it says nothing that can be true.

The doors are `Tally`, which reads the JSON objects of an answer, one or many, and `Usage`. They must not know prices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

__all__ = ["Tally", "Usage"]

_CHARS_PER_TOKEN = 4
_MOST_TOKENS = 2**31 - 1  # more is no count, and fits no column

# Text has 2 to 6 characters a token, tables and white space up to 16; fewer tokens than one for 32 were never counted.
_GROSS = 8


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer.

    Attributes:
        tokens_in: Tokens read; None where the upstream did not say.
        tokens_out: Tokens written.
        source: Who counted.
        tokens_cached: Of `tokens_in`, those from the upstream's prompt cache; None where it did not say.
    """

    tokens_in: int | None
    tokens_out: int
    source: Literal["upstream", "estimate"]
    tokens_cached: int | None = None

    def with_prompt(self, tokens_in: int, text_tokens: int) -> Usage:
        """The same, with our estimate of the prompt where the upstream's count is missing or cannot be true.

        Args:
            tokens_in: Our estimate.
            text_tokens: Of it, what stands for text: a count of pictures and sounds is no reason to disbelieve.

        Example:
            >>> Usage(9, 6, "upstream").with_prompt(10_000, 10_000)
            Usage(tokens_in=10000, tokens_out=6, source='estimate', tokens_cached=None)
        """
        if self.tokens_in is not None and _can_be(self.tokens_in, text_tokens):
            return self
        return replace(self, tokens_in=tokens_in, source="estimate")


class Tally:
    """Counts over the objects of an answer.

    Example:
        >>> tally = Tally()
        >>> tally.read_part({"content": "To be, or not to be"})
        True
        >>> tally.usage
        Usage(tokens_in=None, tokens_out=5, source='estimate', tokens_cached=None)
        >>> details = {"cached_tokens": 4}
        >>> tally.read_usage({"prompt_tokens": 9, "completion_tokens": 6, "prompt_tokens_details": details})
        >>> tally.usage
        Usage(tokens_in=9, tokens_out=6, source='upstream', tokens_cached=4)
    """

    __slots__ = ("_n_chars", "_tokens_cached", "_tokens_in", "_tokens_out")

    def __init__(self) -> None:
        self._n_chars = 0
        self._tokens_in: int | None = None
        self._tokens_cached: int | None = None
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
        details = reported.get("prompt_tokens_details")
        for said in (
            details.get("cached_tokens") if isinstance(details, dict) else None,
            reported.get("prompt_cache_hit_tokens"),  # DeepSeek
            reported.get("cache_read_input_tokens"),  # proxies before Anthropic
        ):
            self._tokens_cached = _larger(self._tokens_cached, said)

    @property
    def usage(self) -> Usage:
        """The counts so far; fewer tokens written than the text can have are not believed."""
        counted = -(-self._n_chars // _CHARS_PER_TOKEN)
        tokens_in, tokens_out, tokens_cached = self._tokens_in, self._tokens_out or 0, self._tokens_cached
        if tokens_in is None:
            return Usage(None, max(tokens_out, counted), "estimate")
        if tokens_cached is not None:
            tokens_cached = min(tokens_cached, tokens_in)
        if _can_be(tokens_out, counted):
            return Usage(tokens_in, tokens_out, "upstream", tokens_cached)
        return Usage(tokens_in, counted, "estimate", tokens_cached)


def _can_be(said: int, counted: int) -> bool:
    """Whether an upstream's count can be true of text in which we count so many."""
    return _GROSS * said >= counted


def _larger(known: int | None, said: object) -> int | None:
    if not isinstance(said, int) or isinstance(said, bool) or not 0 <= said <= _MOST_TOKENS:
        return known
    return said if known is None else max(known, said)


def _call_length(call: object) -> int:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return 0
    return sum(len(value) for value in function.values() if isinstance(value, str))
