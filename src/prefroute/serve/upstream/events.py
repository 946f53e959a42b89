"""Server-sent events of a streamed answer: cut where one ends, read just enough to know what they mean, passed on raw.

The door is `EventReader`. Lines end in LF, CRLF or CR and in nothing else: U+2028 and its like are text. It does no
I/O and must not know where the bytes come from.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from prefroute.serve.upstream.usage import Tally, Usage

__all__ = ["DONE", "EventReader"]

DONE = b"data: [DONE]\n\n"
"""The event after which nothing may follow; always a piece of its own."""

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")  # atomic: one CRLF is no blank line


class EventReader:
    r"""Reads a stream piece by piece and keeps what is fit to be passed on.

    Args:
        n_choices: How many choices the request asked for, >= 1.

    Attributes:
        has_content: Whether content, a tool call or an end of it has come; a role alone is none.
        is_done: Whether the upstream said that it is done; what follows is dropped.
        has_error: Whether the upstream reported an error, after which nothing is passed on.
        n_malformed: Events that are no JSON object or have a choice that is none. They are left out, but for those with
            a choice that can be read.

    Example:
        >>> reader = EventReader()
        >>> reader.feed(b'data: {"choices": [{"index": 0, "delta": {"content": "Hi"}, "fini')
        b''
        >>> reader.feed(b'sh_reason": "stop"}]}\n\ndata: [DONE]\n\n')
        b'data: {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}\n\n'
        >>> reader.is_complete, reader.is_done
        (True, True)
    """

    def __init__(self, n_choices: int = 1) -> None:
        self.has_content = False
        self.is_done = False
        self.has_error = False
        self.n_malformed = 0
        self._n_choices = n_choices
        self._tally = Tally()
        self._started: set[Any] = set()  # indexes of choices
        self._finished: set[Any] = set()
        self._held: list[bytes] = []  # an event that has not ended yet
        self._is_first = True

    @property
    def is_complete(self) -> bool:
        """Whether as many choices have ended as were asked for, and every one that began."""
        return len(self._finished) >= self._n_choices and self._started <= self._finished

    @property
    def usage(self) -> Usage:
        """Tokens so far."""
        return self._tally.usage

    def feed(self, piece: bytes) -> bytes:
        """The whole events that `piece` completes, as they were sent, without `[DONE]` and without malformed ones.

        Args:
            piece: The next bytes, cut anywhere.
        """
        if self._held:
            # only the seam is searched, so that one long event in many small pieces takes linear time
            seam = self._held[-1][-3:] + piece
            self._held.append(piece)
            if b"\n\n" not in seam and (b"\r" not in seam or not _BLANK_LINE.search(seam)):
                return b""
            piece = b"".join(self._held)
            self._held = []
        if self._is_first:
            if len(piece) < len(_BOM) and _BOM.startswith(piece):
                self._held = [piece]
                return b""
            self._is_first = False
            piece = piece.removeprefix(_BOM)
        return self._cut(piece) if b"\r" in piece else self._cut_plain(piece)

    def end(self) -> bytes:
        """What is left when the stream ends without a last blank line; half an event is none."""
        rest = b"".join(self._held)
        self._held = []
        return rest + b"\n\n" if rest.strip() and self._take(rest) else b""

    def _cut_plain(self, data: bytes) -> bytes:
        blocks = data.split(b"\n\n")
        rest = blocks.pop()
        if rest:
            self._held = [rest]
        kept = [block for block in blocks if self._take(block)]
        if len(kept) == len(blocks):
            return data[: len(data) - len(rest)]
        return b"".join(block + b"\n\n" for block in kept)

    def _cut(self, data: bytes) -> bytes:
        kept = []
        start = 0
        for blank in _BLANK_LINE.finditer(data):
            if self._take(data[start : blank.start()]):
                kept.append(data[start : blank.end()])
            start = blank.end()
        if start < len(data):
            self._held = [data[start:]]
        return b"".join(kept)

    def _take(self, block: bytes) -> bool:
        """Read one event; whether it is to be passed on."""
        if self.is_done or self.has_error:
            return False
        data = _data(block)
        if data is None:
            return self.has_content  # comments keep a client waiting that has begun to read; before, nobody does
        if data.strip() == b"[DONE]":
            self.is_done = True
            return False
        try:
            event = orjson.loads(data)
            if event.get("error"):
                self.has_error = True
                return False
            return self._read(event)
        except (orjson.JSONDecodeError, AttributeError, TypeError):  # no JSON, or not the JSON of an event
            self.n_malformed += 1
            return False

    def _read(self, event: dict[str, Any]) -> bool:
        choices = event.get("choices") or ()
        n_read = 0
        for choice in choices:
            try:
                self._read_choice(choice)
                n_read += 1
            except (AttributeError, TypeError):
                pass
        usage = event.get("usage")
        if usage is not None:
            self._tally.read_usage(usage)
        if n_read < len(choices):
            self.n_malformed += 1
        return n_read > 0 or not choices

    def _read_choice(self, choice: dict[str, Any]) -> None:
        index = choice.get("index", 0)
        self._started.add(index)
        delta = choice.get("delta")
        part = {"text": choice.get("text")} if delta is None else delta
        if self._tally.read_part(part):
            self.has_content = True
        if choice.get("finish_reason") is not None:
            self._finished.add(index)
            self.has_content = True


def _data(block: bytes) -> bytes | None:
    """The data of an event, its lines joined; None where it has none."""
    if block.startswith(b"data:") and b"\n" not in block and b"\r" not in block:
        return block[5:]
    lines = [line[5:].removeprefix(b" ") for line in _LINE_END.split(block) if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None
