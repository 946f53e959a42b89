"""What the gateway says when it cannot answer: OpenAI's error shape, one code for each condition.

The door is `Fault` and the functions that make the common ones; docs/reference/gateway-api.md lists the conditions.
A message never holds a key, a prompt's text, or the URL of an upstream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

__all__ = ["Fault", "bad_request", "not_found", "overloaded", "upstream_fault"]

# Official clients repeat 408, 409, 429 and 5xx on their own; where repeating cannot help, this header stops them.
_DO_NOT_RETRY = {"x-should-retry": "false"}


class Fault(Exception):
    """A request that ends in an error that the client sees.

    Args:
        status: HTTP status; 200 for an error after the first byte, which travels inside the stream.
        code: What happened, one word that programs compare.
        message: What is wrong, what was got, what was wanted, what to do.
        type_: OpenAI's class of error.
        param: JSON path of the field that is wrong, such as "messages.0.role".
        headers: Further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        type_: str = "invalid_request_error",
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.type = type_
        self.param = param
        self.headers = dict(headers or {})

    def to_json(self) -> dict[str, Any]:
        """The body of the answer, as JSON values."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def body(self) -> bytes:
        """The body of the answer."""
        return orjson.dumps(self.to_json())

    def event(self) -> bytes:
        """The same inside a stream of server-sent events, after which nothing may follow."""
        return b"data: " + self.body() + b"\n\n"


def bad_request(code: str, message: str, param: str | None = None) -> Fault:
    """400: the client can mend it.

    Example:
        >>> bad_request("missing_required_parameter", "`model` is missing.", "model").to_json()["error"]["param"]
        'model'
    """
    return Fault(400, code, message, param=param)


def not_found(code: str, message: str, param: str | None = None) -> Fault:
    """404: no such model or path."""
    return Fault(404, code, message, param=param)


def overloaded(code: str, message: str, *, retry_after_s: int = 1, closing: bool = False) -> Fault:
    """503: the gateway itself cannot take the request now."""
    headers = {"retry-after": str(retry_after_s)} | ({"connection": "close"} if closing else {})
    return Fault(503, code, message, type_="server_error", headers=headers)


def upstream_fault(status: int, code: str, message: str, *, retry_after_s: int | None = None) -> Fault:
    """An upstream failed, and so did whatever could stand in for it.

    Args:
        status: 502, 504, or 429 where every upstream is rate limited.
        code: Such as "upstream_timeout".
        message: Names the model of this gateway, never the upstream's address.
        retry_after_s: When to ask again, for 429; without it clients are told not to repeat, since we already did.
    """
    if status == 429:
        retry = {} if retry_after_s is None else {"retry-after": str(retry_after_s)}
        return Fault(status, code, message, type_="rate_limit_error", headers=retry)
    return Fault(status, code, message, type_="upstream_error", headers=_DO_NOT_RETRY)
