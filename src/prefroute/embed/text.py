"""What every embedder does to text before a tokenizer or an endpoint sees it."""

from __future__ import annotations

from prefroute.prompts import head_tail

__all__ = ["CHARS_PER_TOKEN", "model_text"]

# A budget of 8 characters a token is twice what English needs: ordinary text that fits the model is never cut, and a
# megabyte is no longer tokenised to keep 256 tokens of it.
CHARS_PER_TOKEN = 8


def model_text(text: str, max_chars: int) -> str:
    """The text cut to its head and tail, as valid Unicode: a lone surrogate becomes a question mark.

    Args:
        text: Any string.
        max_chars: What is left at most.

    Returns:
        At most `max_chars` characters.

    Example:
        >>> model_text("half an emoji: " + chr(0xD83D), 100)
        'half an emoji: ?'
    """
    return head_tail(text, max_chars).encode("utf-8", "replace").decode("utf-8")
