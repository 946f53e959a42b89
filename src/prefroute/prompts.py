"""What makes two prompts the same, which half of the data a prompt belongs to, and how long text is cut.

The rules here are conventions that files, splits and other people's scripts rely on (docs/reference/conventions.md).
"""

from __future__ import annotations

import hashlib
import string
import unicodedata

__all__ = ["MAX_CHARS", "head_tail", "is_train_half", "normalise", "pieces", "prompt_hash"]

MAX_CHARS = 2048
"""What `pieces` reads of a text: a longer one is cut to its head and tail."""

_SPACED = [(sign, f" {sign} ") for sign in string.punctuation]


def normalise(prompt: str) -> str:
    r"""The prompt after Unicode NFKC, case folding and collapsing of white space.

    Example:
        >>> normalise("  What is\n2 + 2?  ")
        'what is 2 + 2?'
    """
    if prompt.isascii():  # of which neither NFKC nor folding knows more than lower case
        return " ".join(prompt.lower().split())
    return " ".join(unicodedata.normalize("NFKC", prompt).casefold().split())


def prompt_hash(prompt: str) -> str:
    """SHA-256 of the normalised prompt, 64 hexadecimal digits.

    A lone surrogate (text that is not valid Unicode) is hashed as the replacement character, never an error.
    """
    return hashlib.sha256(normalise(prompt).encode("utf-8", "replace")).hexdigest()


def is_train_half(prompt: str) -> bool:
    """Whether the prompt belongs to the half that weights may be trained on: first byte of its hash even."""
    return int(prompt_hash(prompt)[:2], 16) % 2 == 0


def head_tail(text: str, max_chars: int) -> str:
    """At most `max_chars` characters of the text: its first two thirds and its last third, joined by a space.

    Cut before tokenising, so that a very long prompt costs no more than a long one. Instructions stand at the start
    or the end of a prompt; what is dropped is the middle.

    Example:
        >>> head_tail("abcdefghijkl", 7)
        'abcd kl'
    """
    if len(text) <= max_chars:
        return text
    tail = (max_chars - 1) // 3
    return f"{text[: max_chars - 1 - tail]} {text[len(text) - tail :]}"


def pieces(text: str) -> list[str]:
    """Words and signs of the text's head and tail, in order: split at white space and around ASCII punctuation.

    BERT splits here too, whatever else it does, so the tokens of the pieces are the tokens of the whole.

    Example:
        >>> pieces("It's 4.5!")
        ['It', "'", 's', '4', '.', '5', '!']
    """
    text = head_tail(text, MAX_CHARS)
    for sign, spaced in _SPACED:  # a third of the time of a regular expression
        if sign in text:
            text = text.replace(sign, spaced)
    return text.split()
