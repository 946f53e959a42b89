"""The description of the API that `/openapi.json` serves, for people, client generators and fuzzers.

The door is `DOCUMENT`. It describes what `prefroute.serve.wire` checks and no more: all other fields travel through.
"""

from __future__ import annotations

from typing import Any

import orjson

from prefroute import __version__
from prefroute.serve.wire import NEED_CONTENT

__all__ = ["DOCUMENT"]


def _answers(*statuses: int, ok: str = "Object", kinds: tuple[str, ...] = ("application/json",)) -> dict[str, Any]:
    found: dict[str, Any] = {"200": _content("The answer.", ok, kinds)}
    for status in statuses:
        found[str(status)] = _content(_MEANING[status], "Error", ("application/json",))
    return found


def _content(description: str, schema: str, kinds: tuple[str, ...]) -> dict[str, Any]:
    content = {
        kind: {"schema": {"$ref": f"#/components/schemas/{schema}"}} if kind == "application/json" else {}
        for kind in kinds
    }
    return {"description": description, "content": content}


_MEANING = {
    400: "The request is wrong; `param` says where.",
    401: "The key is missing or not valid.",
    403: "The key may not do this.",
    404: "There is no such model, path or request.",
    405: "The path takes another method.",
    408: "The body did not arrive in time.",
    409: "Feedback was given already, or there is nothing to judge.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "The model refused the request.",
    429: "Too many requests.",
    502: "No model gave a usable answer.",
    503: "Overloaded, stopping, or requests cannot be recorded.",
    504: "No model answered in time.",
}
_ALWAYS = (401, 403)
_POST = (400, *_ALWAYS, 404, 408, 413, 415, 429, 503)
_MODEL = (*_POST, 422, 502, 504)


def _post(summary: str, schema: str, answers: dict[str, Any]) -> dict[str, Any]:
    body = {"required": True, "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}
    return {"post": {"summary": summary, "requestBody": body, "responses": answers}}


def _get(summary: str, answers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"get": {"summary": summary, "responses": answers, **more}}


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties}


def _optional(**schema: Any) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


_STREAMED = ("application/json", "text/event-stream")
_NAME = {"type": "string", "description": "A route, a model, or router-NAME-THRESHOLD."}
_CONTENT = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"$ref": "#/components/schemas/Part"}}]}
_SETTINGS = {
    "n": _optional(type="integer", minimum=1, maximum=128),
    "stream": _optional(type="boolean"),
    "temperature": _optional(type="number"),
    "top_p": _optional(type="number"),
    "max_tokens": _optional(type="integer", minimum=-1, maximum=2**31 - 1),
    "stop": _optional(anyOf=[{"type": "string"}, {"type": "array"}]),
}

_SCHEMAS: dict[str, Any] = {
    "Object": {"type": "object"},
    "Error": _object(
        ["error"],
        error=_object(
            ["message", "type", "param", "code"],
            message={"type": "string"},
            type={"type": "string"},
            param=_optional(type="string"),
            code=_optional(type="string"),
        ),
    ),
    "Message": {
        "anyOf": [
            _object(["role", "content"], role={"type": "string"}, content=_CONTENT),
            _object(
                ["role"],
                role={"type": "string", "not": {"enum": sorted(NEED_CONTENT)}},
                content=_optional(**_CONTENT),
            ),
        ]
    },
    "Part": {
        "anyOf": [
            _object(["type", "text"], type={"type": "string", "const": "text"}, text={"type": "string"}),
            _object(["type"], type={"type": "string", "not": {"const": "text"}}),
        ]
    },
    "Chat": _object(
        ["model", "messages"],
        model=_NAME,
        messages={"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Message"}},
        max_completion_tokens=_optional(type="integer", minimum=-1, maximum=2**31 - 1),
        tools=_optional(type="array", items={"type": "object"}),
        tool_choice=_optional(anyOf=[{"type": "string"}, {"type": "object"}]),
        response_format=_optional(type="object"),
        **_SETTINGS,
    ),
    "Completion": _object(
        ["model", "prompt"], model=_NAME, prompt={"anyOf": [{"type": "string"}, {"type": "array"}]}, **_SETTINGS
    ),
    "Embedding": _object(
        ["model", "input"],
        model=_NAME,
        input={"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "minItems": 1}]},
    ),
    "Feedback": _object(
        ["request_id"],
        request_id={"type": "string", "description": "Of the `x-request-id` header of the answer."},
        score={"type": "number", "minimum": 0, "maximum": 1},
        preferred={"type": "string", "description": "The model whose answer is preferred."},
    )
    | {"additionalProperties": False, "oneOf": [{"required": ["score"]}, {"required": ["preferred"]}]},
}

_MODEL_ID = {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}

_PATHS: dict[str, Any] = {
    "/v1/chat/completions": _post("Chat, routed", "Chat", _answers(*_MODEL, kinds=_STREAMED)),
    "/v1/completions": _post("Completion of a text", "Completion", _answers(*_MODEL, kinds=_STREAMED)),
    "/v1/embeddings": _post("Embeddings of one model", "Embedding", _answers(*_MODEL)),
    "/v1/route": _post("What would answer, and why", "Chat", _answers(*_POST)),
    "/v1/feedback": _post("Feedback on an answer", "Feedback", _answers(*_POST, 409)),
    "/v1/models": _get("What can be asked for", _answers(*_ALWAYS)),
    "/v1/models/{model}": _get("One of them", _answers(*_ALWAYS, 404), parameters=[_MODEL_ID]),
    "/metrics": _get("For Prometheus", _answers(*_ALWAYS, kinds=("text/plain",))),
    "/healthz": _get("Whether the process answers", _answers(), security=[]),
    "/readyz": _get(
        "Whether requests are taken",
        _answers() | {"503": _content("Not now.", "Object", ("application/json",))},
        security=[],
    ),
    "/openapi.json": _get("This document", _answers(), security=[]),
}

DOCUMENT: bytes = orjson.dumps(
    {
        "openapi": "3.1.0",
        "info": {"title": "prefroute", "version": __version__},
        "paths": _PATHS,
        "components": {"schemas": _SCHEMAS, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{"key": []}],
    }
)
"""OpenAPI 3.1, as JSON."""
