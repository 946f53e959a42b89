"""Reads what came back for one attempt: an answer that may be handed on, or a `Failure`.

The doors are `read_whole`, `read_start`, `read_refusal` and `says_too_long`. They must not know other attempts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from prefroute.http import retry_after_s
from prefroute.serve.attachments import set_aside
from prefroute.serve.runtime import Model
from prefroute.serve.upstream.events import EventReader
from prefroute.serve.upstream.exchange import Exchange
from prefroute.serve.upstream.failures import Failure
from prefroute.serve.upstream.usage import Tally, Usage

__all__ = ["read_refusal", "read_start", "read_whole", "says_too_long"]

_CLIENTS_FAULT = frozenset({400, 404, 413, 422})
_MAX_REFUSAL_BYTES = 1024 * 1024
_LONG_BYTES = 256 * 1024
_EDGE_BYTES = 1024
_USAGE = re.compile(rb'"usage"\s*:\s*(\{(?:[^{}]|\{[^{}]*\})*\})')  # its details are objects too
_VECTOR = re.compile(rb'^\s*\{.*"data"\s*:\s*\[\s*\{.*"embedding"\s*:', re.DOTALL)
_TOO_LONG = re.compile(rb'"context_length_exceeded"|"exceed_context_size_error"|maximum context length')
_LIKE_A_KEY = re.compile(rb"\bsk-[\w*.-]{6,}")


async def read_whole(exchange: Exchange, path: str) -> tuple[bytes, Usage]:
    """The body of a success, checked, and its tokens.

    Raises:
        Failure: If it is not the JSON object that its path wants.
    """
    content = await _content(exchange)
    tally = Tally()
    try:
        answer = _outline(content, path)
        is_valid = not answer.get("error") and _READERS.get(path, _read_choices)(answer, tally)
        tally.read_usage(answer.get("usage"))
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):  # no JSON, or of another shape
        is_valid = False
    if not is_valid:
        raise exchange.failure("upstream_invalid_response", f"answered {exchange.status} with what is no answer.")
    return content, tally.usage


async def read_start(exchange: Exchange, n_choices: int = 1) -> tuple[EventReader, bytes]:
    """A stream up to its first content: until then another model can still take over.

    Args:
        exchange: Whose status has come.
        n_choices: How many choices the request asked for, >= 1.

    Raises:
        Failure: If it ends, breaks or reports an error before.
    """
    if exchange.headers.get(b"content-type", b"").lower().startswith(b"application/json"):
        raise exchange.failure("upstream_invalid_response", "answered with a body where a stream was asked for.")
    reader = EventReader(n_choices)
    held = []
    while not reader.has_content and not reader.is_done and not reader.has_error:
        piece = await exchange.read()
        held.append(reader.feed(piece) if piece else reader.end())
        if not piece:
            break
    exchange.has_begun = True
    has_ended = reader.is_done or not piece
    if reader.has_error:
        raise exchange.failure("upstream_invalid_response", "began its stream with an error.")
    if has_ended and not reader.is_complete:
        raise exchange.failure("upstream_invalid_response", "ended its stream without an answer.")
    return reader, b"".join(held)


async def read_refusal(exchange: Exchange, model: Model) -> bytes:
    """The body of an error that is the client's to mend, without our secrets.

    Raises:
        Failure: For every other error, and where the body is not OpenAI's shape of an error.
    """
    status = exchange.status
    assert status is not None
    if status not in _CLIENTS_FAULT:
        exchange.linger()
        raise _failure(exchange, model.name, status)
    try:
        refused = orjson.loads(await _content(exchange, _MAX_REFUSAL_BYTES))
        # some servers put the error's fields at the top
        error = refused.get("error", refused)
        is_valid = isinstance(error["message"], str)
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):
        is_valid = False
    if not is_valid:
        raise exchange.failure("upstream_bad_status", f"answered {status} without saying why.")
    said = {"type": "invalid_request_error", "param": None, "code": None} | error
    return _scrubbed(orjson.dumps({"error": said}), model)


def says_too_long(refusal: bytes) -> bool:
    """Whether a refusal is about the length of the request: another model may have room for it.

    OpenAI and others say so by a code, llama.cpp by a type, vLLM in words only.

    Args:
        refusal: Of `read_refusal`.
    """
    return _TOO_LONG.search(refusal) is not None


def _failure(exchange: Exchange, name: str, status: int) -> Failure:
    wait_s = _cool_down_s(exchange.headers)
    if status == 429:
        what = "takes no more requests for now."
        return Failure(name, "upstream_rate_limited", what, status=status, may_pass=True, retry_after_s=wait_s)
    if status in (401, 403):
        return exchange.failure("upstream_auth_failed", "does not accept this gateway's key.")
    if 300 <= status < 400:
        return exchange.failure("upstream_bad_status", f"answered with a redirect ({status}), which is not followed.")
    what = f"answered {status}."
    return Failure(name, "upstream_bad_status", what, status=status, may_pass=status >= 500, retry_after_s=wait_s)


def _cool_down_s(headers: Mapping[bytes, bytes]) -> float | None:
    try:
        said = str(float(headers[b"retry-after-ms"]) / 1000)
    except (KeyError, ValueError):
        said = headers.get(b"retry-after", b"").decode("latin-1")
    return retry_after_s(said)


async def _content(exchange: Exchange, max_bytes: int | None = None) -> bytes:
    pieces = []
    n_bytes = 0
    while piece := await exchange.read():
        exchange.has_begun |= not piece.isspace()  # some send blank lines while the model writes
        pieces.append(piece)
        n_bytes += len(piece)
        if max_bytes is not None and n_bytes > max_bytes:
            exchange.close()
            break
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _outline(content: bytes, path: str) -> Any:
    """An answer without its attachments or, of embeddings, most of the numbers: 10 MB of them block for 50 ms."""
    if len(content) <= _LONG_BYTES:
        return orjson.loads(content)
    if path != "embeddings" or not content.rstrip().endswith(b"}"):
        return orjson.loads(set_aside(content)[0])
    found = _USAGE.search(content[:_EDGE_BYTES] + content[-_EDGE_BYTES:])
    data = [{"embedding": None}] if _VECTOR.search(content[:_EDGE_BYTES]) else []
    return {"data": data, "usage": orjson.loads(found[1]) if found else None}


def _read_choices(answer: dict[str, Any], tally: Tally) -> bool:
    for choice in answer["choices"]:
        tally.read_part(choice["message"])
    return len(answer["choices"]) > 0


def _read_texts(answer: dict[str, Any], tally: Tally) -> bool:
    for choice in answer["choices"]:
        tally.read_part({"text": choice["text"]})
    return len(answer["choices"]) > 0


def _read_vectors(answer: dict[str, Any], tally: Tally) -> bool:
    return len([row["embedding"] for row in answer["data"]]) > 0


_READERS = {"chat/completions": _read_choices, "completions": _read_texts, "embeddings": _read_vectors}


def _scrubbed(body: bytes, model: Model) -> bytes:
    for secret in _secrets(model):
        body = body.replace(secret, b"***")
    return _LIKE_A_KEY.sub(b"***", body)


def _secrets(model: Model) -> list[bytes]:
    """What an upstream could echo: our key, other headers and query values, and its own address."""
    said = [*model.headers.values(), *(value.removeprefix("Bearer ") for value in model.headers.values())]
    said += [value for _, value in model.query]
    said.append(urlsplit(model.base_url).netloc)
    return sorted({text.encode() for text in said if len(text) >= 6}, key=len, reverse=True)
