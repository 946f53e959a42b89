"""Text that every database takes: what a database refuses is written another way, and can be read back.

PostgreSQL refuses NUL, and no encoding of Unicode has lone surrogates; both reach the gateway inside JSON.
"""

from __future__ import annotations

import re

__all__ = ["escape", "unescape"]

_MARK = "\ue000"  # of the private use area: as good as never in a text, and escaped like the rest where it is
_REFUSED = re.compile(f"[\x00{_MARK}\ud800-\udfff]")
_ESCAPED = re.compile(f"{_MARK}([0-9a-f]{{4}})")


def escape(text: str) -> str:
    r"""The text with NUL and lone surrogates written as U+E000 and four hexadecimal digits.

    Example:
        >>> unescape(escape("a\x00b")) == "a\x00b", "\x00" in escape("a\x00b")
        (True, False)
    """
    return _REFUSED.sub(lambda match: f"{_MARK}{ord(match[0]):04x}", text)


def unescape(text: str) -> str:
    """What `escape` was given."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
