"""What a request's body must be like: only what every model would refuse, and what routing has to rely on.

The doors are `read_json` and one `check_*` for each endpoint. Fields that are not named here travel through untouched:
whole numbers of any length, others as the nearest number of 64 bits. A duplicate key counts with its last value, for
the gateway and, since bodies are written anew, for the model too. This module must not know models, routes or keys.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import orjson

from prefroute.serve.attachments import Attachments, put_back, set_aside
from prefroute.serve.faults import Fault, bad_request

__all__ = ["Body", "check_chat", "check_completions", "check_embeddings", "check_feedback", "read_json"]

Body: TypeAlias = dict[str, Any]

NEED_CONTENT = frozenset({"developer", "system", "tool", "user"})
"""Roles that no model takes without content. Others may be a call of tools only, or of a model's own making."""

# Clients of other gateways steer them with these. Sent on, they would reach a model that does not know them; obeyed,
# they would let a client choose where its request goes.
_RESERVED = frozenset({"api_base", "base_url", "api_key", "fallbacks", "mock_response"})

_LONG_BYTES = 256 * 1024
_DEEPEST = 250
_MOST_OPENINGS = 200_000
_DIGITS_ALIKE = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_RUN = b"0" * 19  # the fewest digits of a number that does not fit 64 bits
_MOST_CHOICES = 128
_MOST_TOKENS = 2**31 - 1  # more than any model writes; fits the journal's column


def read_json(raw: bytes | bytearray) -> Body:
    """The JSON object in a request's body.

    Args:
        raw: UTF-8, without a byte order mark.

    Raises:
        Fault: 400 for anything that is no JSON object: bad syntax or UTF-8, lone surrogates, NaN, numbers too large,
            more than 250 levels or 200,000 lists and objects.
    """
    attachments: Attachments = {}
    if len(raw) > _LONG_BYTES:
        raw, attachments = set_aside(raw)
    n_openings = raw.count(b"[") + raw.count(b"{")  # in strings too: text may hold a good deal of them
    if n_openings > _MOST_OPENINGS:  # parsing them would hold up everybody else
        raise bad_request("invalid_json", f"The body holds more than {_MOST_OPENINGS:,} lists and objects. Send less.")
    try:
        body = orjson.loads(raw)
        if n_openings > _DEEPEST:
            _check_depth(body)
    except orjson.JSONDecodeError as exc:
        # the decoder's own words say what and where, and never quote the text
        raise bad_request("invalid_json", f"The body is not valid JSON: {exc}.") from exc
    if _LONG_RUN in raw.translate(_DIGITS_ALIKE):  # it may be a number that does not fit, and was rounded
        body = json.loads(raw, parse_int=_integer)
    if not isinstance(body, dict):
        raise bad_request("invalid_type", f"The body must be a JSON object, got {_kind(body)}.")
    if attachments:
        put_back(body, attachments)
    return body


def _integer(digits: str) -> int | orjson.Fragment:
    """A whole number; one that is too long for 64 bits as the digits that are to be written again."""
    number = int(digits)
    return number if -(2**63) <= number < 2**64 else orjson.Fragment(digits)


def _check_depth(body: object) -> None:
    """Refuse what can be read but not be written again: the encoder goes less deep than the decoder."""
    level = [body] if isinstance(body, (dict, list)) else []
    for _ in range(_DEEPEST):
        items = [inner for value in level for inner in (value.values() if isinstance(value, dict) else value)]
        level = [inner for inner in items if isinstance(inner, (dict, list))]
        if not level:
            return
    raise bad_request("invalid_json", f"The body is nested more than {_DEEPEST} levels deep.")


def check_chat(body: Body) -> None:
    """Refuse what is no chat request.

    Args:
        body: Of `read_json`.

    Raises:
        Fault: 400 that names the first field that is wrong.

    Example:
        >>> check_chat({"model": "auto", "messages": [{"role": "user", "content": None}]})
        Traceback (most recent call last):
        prefroute.serve.faults.Fault: `messages.0.content` must be a string or an array, got null.
    """
    _check_fields(body)
    messages = _required(body, "messages")
    if not isinstance(messages, list):
        raise _wrong_type("messages", "an array", messages)
    if not messages:
        raise bad_request("invalid_value", "`messages` must have at least one message, got none.", "messages")
    for i, message in enumerate(messages):
        _check_message(message, f"messages.{i}")


def check_completions(body: Body) -> None:
    """Refuse what is no request for a (legacy) completion; arguments and errors as for `check_chat`."""
    _check_fields(body)
    prompt = _required(body, "prompt")
    if not isinstance(prompt, str | list):
        raise _wrong_type("prompt", "a string or an array", prompt)


def check_embeddings(body: Body) -> None:
    """Refuse what is no request for embeddings; arguments and errors as for `check_chat`."""
    _check_fields(body)
    text = _required(body, "input")
    if not isinstance(text, str | list):
        raise _wrong_type("input", "a string or an array", text)
    if not text:
        raise bad_request("invalid_value", "`input` must not be empty.", "input")


def check_feedback(body: Body) -> None:
    """Refuse what is no feedback: a request's id, and either a score or the preferred model.

    Args:
        body: Of `read_json`.

    Raises:
        Fault: 400 that names the first field that is wrong.
    """
    known = ("request_id", "score", "preferred")
    for name in body:
        if name not in known:
            raise bad_request("invalid_value", f"{name!r} is no field of a feedback: {', '.join(known)}.", name)
    for name in ("request_id", "preferred"):
        if body.get(name) is not None and not isinstance(body[name], str):
            raise _wrong_type(name, "a string", body[name])
    _required(body, "request_id")
    score = body.get("score")
    if (score is None) == (body.get("preferred") is None):
        raise bad_request("invalid_value", "Give exactly one of `score` and `preferred`.", "score")
    if score is not None and (not _is_number(score) or not 0 <= score <= 1):
        raise bad_request("invalid_value", "`score` must be a number in [0, 1].", "score")


def _check_fields(body: Body) -> None:
    model = _required(body, "model")
    if not isinstance(model, str):
        raise _wrong_type("model", "a string", model)
    for name, value in body.items():
        check = _FIELDS.get(name)
        if check is not None:
            if value is not None:
                check(name, value)
        elif name in _RESERVED:
            raise bad_request("invalid_value", f"`{name}` is not a client's to set here. Leave it out.", name)
    if body.get("stream_options") is not None and not body.get("stream"):
        raise bad_request("invalid_value", "`stream_options` goes with `stream: true` only.", "stream_options")


def _check_message(message: object, path: str) -> None:
    if not isinstance(message, dict):
        raise _wrong_type(path, "an object", message)
    role = message.get("role")
    if role is None:
        raise _missing(f"{path}.role")
    if not isinstance(role, str):
        raise _wrong_type(f"{path}.role", "a string", role)
    content = message.get("content")
    if isinstance(content, str):
        return
    if isinstance(content, list):
        for i, part in enumerate(content):
            _check_part(part, f"{path}.content.{i}")
    elif content is not None or role in NEED_CONTENT:
        raise _wrong_type(f"{path}.content", "a string or an array", content)


def _check_part(part: object, path: str) -> None:
    if not isinstance(part, dict):
        raise _wrong_type(path, "an object", part)
    kind = part.get("type")
    if kind is None:
        raise _missing(f"{path}.type")
    if not isinstance(kind, str):
        raise _wrong_type(f"{path}.type", "a string", kind)
    if kind == "text" and not isinstance(part.get("text"), str):
        raise _wrong_type(f"{path}.text", "a string", part.get("text"))


def _required(body: Mapping[str, Any], name: str) -> Any:
    value = body.get(name)
    if value is None:
        raise _missing(name)
    return value


def _missing(path: str) -> Fault:
    return bad_request("missing_required_parameter", f"`{path}` is missing.", path)


def _wrong_type(path: str, wanted: str, got: object) -> Fault:
    return bad_request("invalid_type", f"`{path}` must be {wanted}, got {_kind(got)}.", path)


def _kind(value: object) -> str:
    kinds = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")


def _is_number(value: object) -> bool:
    return type(value) is int or type(value) is float


def _instance(wanted: str, *types: type) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if type(value) not in types:
            raise _wrong_type(name, wanted, value)

    return check


def _whole(low: int, high: int) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if type(value) is not int and not (type(value) is float and value.is_integer()):  # 3.0 is one in JSON Schema
            raise _wrong_type(name, "an integer", value)
        if not low <= value <= high:
            raise bad_request("invalid_value", f"`{name}` must be from {low} to {high}, got {value}.", name)

    return check


def _objects(name: str, value: Any) -> None:
    if not isinstance(value, list):
        raise _wrong_type(name, "an array", value)
    for i, item in enumerate(value):
        if not isinstance(item, dict):
            raise _wrong_type(f"{name}.{i}", "an object", item)


def _logprobs(name: str, value: Any) -> None:
    if type(value) is not bool:  # a number in the older API
        _tokens(name, value)


_boolean, _object = _instance("a boolean", bool), _instance("an object", dict)
_number = _instance("a number", int, float, orjson.Fragment)  # the last is a whole number of more than 64 bits
_tokens = _whole(-1, _MOST_TOKENS)  # -1 is "as many as there are" to several servers
_choice = _instance("a string or an object", str, dict)

# Null counts as not said.
_FIELDS: Mapping[str, Callable[[str, Any], None]] = {
    "frequency_penalty": _number,
    "function_call": _choice,
    "functions": _objects,
    "logit_bias": _object,
    "logprobs": _logprobs,
    "max_completion_tokens": _tokens,
    "max_tokens": _tokens,
    "metadata": _object,
    "modalities": _instance("an array", list),
    "n": _whole(1, _MOST_CHOICES),
    "parallel_tool_calls": _boolean,
    "presence_penalty": _number,
    "response_format": _object,
    "stop": _instance("a string or an array", str, list),
    "stream": _boolean,
    "stream_options": _object,
    "temperature": _number,
    "tool_choice": _choice,
    "tools": _objects,
    "top_logprobs": _tokens,
    "top_p": _number,
    "user": _instance("a string", str),
}
