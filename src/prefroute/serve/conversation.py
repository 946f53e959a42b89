"""What of a conversation is scored, what it needs, how long it is, and what makes two requests one conversation.

The door is `read_conversation`. It reads a body that `prefroute.serve.wire` has let through and never raises: what it
does not know it leaves alone. It must not know models, routes or scores. Data URIs are never looked at.

What is scored: the last user turn that has text; then earlier user turns, newest first; then system text; each within
its budget. What a tool or the assistant said, and blocks that an agent's harness puts into turns, do not decide.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from prefroute.prompts import head_tail
from prefroute.serve.needs import read_needs
from prefroute.serve.stickiness import FEWEST_TOKENS

__all__ = ["EARLIER_CHARS", "SYSTEM_CHARS", "TEXT_CHARS", "Conversation", "read_conversation"]

TEXT_CHARS = 8192
"""Characters that are scored at most, all of them the last user turn's: no router reads more, but for its length."""

CONTEXT_CHARS = 2048
"""Up to here earlier turns and system text are added: what the shortest-sighted embedder reads."""

EARLIER_CHARS = 512
"""Of these, what earlier user turns may take of the room that the last one leaves."""

SYSTEM_CHARS = 256
"""And system text after them. It is the same in all of an application's requests: it tells little about one."""

_BETWEEN = "\n\n"
_FEWEST_CHARS = 16  # less of a turn says nothing

# Of a turn, and of all turns together: looking for blocks in text made for it takes up to 60 ns a character, and the
# event loop waits. A longer turn is cut to its head and tail first.
_MOST_SEARCHED = 32_768
_MOST_SEARCHED_IN_ALL = 65_536

# Blocks that agents' harnesses put into user turns and system text: reminders, listings, settings, output of commands.
_BOILERPLATE = (
    "available_tools",
    "command-args",
    "command-message",
    "command-name",
    "environment_context",
    "environment_details",
    "functions",
    "local-command-stderr",
    "local-command-stdout",
    "system-reminder",
    "system_reminder",
    "tool_list",
    "tool_result",
    "tools",
    "user_instructions",
)
_OPENING = re.compile(f"<({'|'.join(map(re.escape, _BOILERPLATE))})>")

_TEXT_PARTS = ("text", "input_text")
_SYSTEM_ROLES = ("system", "developer")
_TOOL_ROLES = ("tool", "function")

_BYTES_PER_TOKEN = 4  # English and code in today's tokenizers; about right for other scripts, counted as UTF-8
_TOKENS_PER_MESSAGE = 4  # role and separators
_TOKENS_PER_PART = 1000  # an image, a sound, a file: the size of a middling image


@dataclass(frozen=True, slots=True)
class Conversation:
    """What the planner needs to know of a request.

    Attributes:
        text: What is scored, at most `TEXT_CHARS` characters; empty where no turn has text.
        needs: Of `prefroute.serve.runtime.CAPABILITIES`.
        tokens_in: Estimate of the tokens that a model reads.
        text_tokens: Of these, what stands for text and token numbers; pictures and their like are a guess.
        max_tokens_out: The longest answer that the request allows, tokens; None where it does not say.
        prefix_key: The same for all requests of one conversation; None for a request without user text, or too short
            for prompt caches.
        n_turns: User turns.
    """

    text: str = ""
    needs: frozenset[str] = frozenset()
    tokens_in: int = 0
    text_tokens: int = 0
    max_tokens_out: int | None = None
    prefix_key: bytes | None = None
    n_turns: int = 0

    @property
    def n_tokens(self) -> int:
        """Estimate of the request with the longest answer that it allows."""
        return self.tokens_in + (self.max_tokens_out or 0)


def read_conversation(body: Mapping[str, Any]) -> Conversation:
    r"""The conversation in the body of a request.

    Args:
        body: JSON values with `messages`, `prompt` or `input`. An input for embeddings is counted only.

    Example:
        >>> system, user = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 2 + 2?"}
        >>> read_conversation({"messages": [system, user]}).text
        'What is 2 + 2?\n\nBe brief.'
    """
    messages, prompt, embedded = (body.get(name) for name in ("messages", "prompt", "input"))
    if not isinstance(messages, list):
        messages = [{"role": "user", "content": text} for text in _texts(prompt)]
    reading = _Reading()
    for message in messages:
        if isinstance(message, Mapping):
            reading.add(message)
    n_bytes = reading.n_bytes + sum(map(_utf8_bytes, _texts(embedded)))
    n_bytes += sum(_json_bytes(body[name]) for name in ("tools", "functions", "response_format") if body.get(name))
    text_tokens = n_bytes // _BYTES_PER_TOKEN + _n_token_numbers(prompt) + _n_token_numbers(embedded)
    n_tokens = text_tokens + reading.n_tokens
    return Conversation(
        text=_scored(reading.user, reading.system),
        needs=read_needs(body, reading.part_types, has_tool_turns=reading.has_tool_turns),
        tokens_in=n_tokens,
        text_tokens=text_tokens,
        max_tokens_out=_max_tokens(body),
        prefix_key=_prefix_key(reading.system, reading.user) if n_tokens >= FEWEST_TOKENS else None,
        n_turns=len(reading.user),
    )


class _Reading:
    """One pass over the messages."""

    def __init__(self) -> None:
        self.user: list[str] = []
        self.system: list[str] = []
        self.part_types: set[str] = set()
        self.has_tool_turns = False
        self.n_bytes = 0
        self.n_tokens = 0

    def add(self, message: Mapping[str, Any]) -> None:
        role = message.get("role")
        text = self._text(message.get("content"))
        self.n_bytes += _utf8_bytes(text)
        self.n_tokens += _TOKENS_PER_MESSAGE
        if role == "user":
            self.user.append(text)
        elif role in _SYSTEM_ROLES:
            self.system.append(text)
        elif role in _TOOL_ROLES:
            self.has_tool_turns = True
        calls = message.get("tool_calls") or message.get("function_call")
        if calls:
            self.has_tool_turns = True
            self.n_bytes += _json_bytes(calls)

    def _text(self, content: Any) -> str:
        """The text of a message; types of its other parts are noted."""
        if isinstance(content, str):
            return content
        if not isinstance(content, list):
            return ""
        texts = []
        for part in content:
            kind = part.get("type") if isinstance(part, Mapping) else None
            if kind in _TEXT_PARTS:
                text = part.get("text")
                texts.append(text if isinstance(text, str) else "")
            elif isinstance(kind, str):
                self.part_types.add(kind)
                self.n_tokens += _TOKENS_PER_PART
        return "\n".join(texts)


def _texts(given: Any) -> Iterable[str]:
    """The texts of a `prompt` or `input`, which is one or several of them; token numbers are left alone."""
    if isinstance(given, str):
        return [given]
    return [text for text in given if isinstance(text, str)] if isinstance(given, list) else []


def _n_token_numbers(given: Any) -> int:
    """How many tokens a `prompt` or `input` holds as numbers: in one list, or in several."""
    if not isinstance(given, list) or not given:
        return 0
    if isinstance(given[0], int):
        return len(given)
    return sum(len(part) for part in given if isinstance(part, list))


def _scored(user: Sequence[str], system: Sequence[str]) -> str:
    pieces: list[str] = []
    left, room = CONTEXT_CHARS, TEXT_CHARS
    to_search = _MOST_SEARCHED_IN_ALL
    for turn in reversed(user):
        if room < _FEWEST_CHARS or to_search <= 0:
            break
        to_search -= min(len(turn), _MOST_SEARCHED)
        if text := _cut(turn, room):
            taken = len(text) + len(_BETWEEN)
            left -= taken
            room = min(left, room - taken if pieces else EARLIER_CHARS)
            pieces.append(text)
    room = min(left, SYSTEM_CHARS) if pieces else TEXT_CHARS
    if system and room >= _FEWEST_CHARS and (text := _cut("\n".join(system), room)):
        pieces.append(text)
    return _BETWEEN.join(pieces)


def _cut(text: str, max_chars: int) -> str:
    own = _without_boilerplate(head_tail(text, _MOST_SEARCHED))
    return head_tail(own, max_chars) if own and not own.isspace() else ""


def _without_boilerplate(text: str) -> str:
    """The text without the blocks of `_BOILERPLATE`, in time linear in its length; unclosed ones stay."""
    opening = _OPENING.search(text)
    if opening is None:
        return text
    kept: list[str] = []
    at = 0
    unclosed: set[str] = set()  # looked for once: a text of openings alone would take quadratic time
    while opening is not None:
        tag = opening[1]
        end = -1 if tag in unclosed else text.find(f"</{tag}>", opening.end())
        if end < 0:
            unclosed.add(tag)
            opening = _OPENING.search(text, opening.end())
            continue
        kept.append(text[at : opening.start()])
        at = end + len(tag) + 3
        opening = _OPENING.search(text, at)
    kept.append(text[at:])
    return "".join(kept).strip()


def _prefix_key(system: Sequence[str], user: Sequence[str]) -> bytes | None:
    """Of the system text and the first user turn as they were sent: what an upstream's prompt cache begins with."""
    if not user or not user[0]:
        return None
    digest = blake2b(digest_size=16)
    for text in (*system, user[0]):
        # Length and both ends: enough to tell conversations apart, and nothing grows with a long paste.
        digest.update(f"{len(text)}:{head_tail(text, TEXT_CHARS)}".encode("utf-8", "replace"))
    return digest.digest()


def _max_tokens(body: Mapping[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        value = body.get(name)
        if (
            value is not None
            and isinstance(value, int | float)
            and not isinstance(value, bool)
            and 0 <= value < float("inf")
        ):
            return int(value)
    return None


def _utf8_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _json_bytes(value: Any) -> int:
    """Length of a value as JSON; 0 for one that orjson would not have read."""
    try:
        return len(orjson.dumps(value))
    except orjson.JSONEncodeError:
        return 0
