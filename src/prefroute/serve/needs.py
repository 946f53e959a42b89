"""What a request needs beyond text, and which models can take it.

The door is `read_needs`, `can_take` and `unsupported`. A model takes what it declares in the configuration, and nothing
is inferred from its name. This module looks at names of fields and types of parts, never at what is in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prefroute.serve.faults import Fault, bad_request
from prefroute.serve.runtime import CAPABILITIES, Model

__all__ = ["PART_NEEDS", "can_take", "read_needs", "unsupported"]

PART_NEEDS: Mapping[str, str] = {
    "image_url": "images",
    "input_image": "images",
    "input_audio": "audio",
    "file": "files",
    "input_file": "files",
}
"""What a part of a message needs, by the part's type; a type that is not here needs nothing and travels through."""


def read_needs(body: Mapping[str, Any], part_types: Iterable[str], *, has_tool_turns: bool) -> frozenset[str]:
    """The capabilities that a request needs.

    Args:
        body: The request.
        part_types: Types of the parts of its messages.
        has_tool_turns: Whether a message calls a tool or holds a tool's result.

    Example:
        >>> sorted(read_needs({"tools": [{}]}, ["text", "image_url"], has_tool_turns=False))
        ['images', 'tools']
    """
    needs = {PART_NEEDS[part] for part in part_types if part in PART_NEEDS}
    if has_tool_turns or body.get("tools") or body.get("functions"):
        needs.add("tools")
    shape = body.get("response_format")
    if shape is not None and isinstance(shape, Mapping) and shape.get("type") == "json_schema":
        needs.add("json_schema")
    modalities = body.get("modalities")
    if isinstance(modalities, list) and "audio" in modalities:
        needs.add("audio")
    return frozenset(needs)


def can_take(model: Model, needs: frozenset[str], n_tokens: int) -> bool:
    """Whether a model declares every need, and a context that the request fits in.

    Args:
        model: The model.
        needs: Of `read_needs`.
        n_tokens: Tokens of the request with the longest answer that it allows.
    """
    return needs <= model.capabilities and (model.context_tokens is None or n_tokens <= model.context_tokens)


def unsupported(route: str, models: Iterable[Model], needs: frozenset[str], n_tokens: int) -> Fault:
    """The 400 for a request that no candidate of a route can take; its message says what is missing.

    Args:
        route: Name of the route.
        models: Its candidates, none of which can take the request.
        needs: What the request needs.
        n_tokens: Its tokens.
    """
    candidates = list(models)
    wanted = [name for name in CAPABILITIES if name in needs]
    lacking = [name for name in wanted if not any(name in model.capabilities for model in candidates)]
    if lacking:
        what = f"no candidate declares {' or '.join(lacking)}"
    elif not any(needs <= model.capabilities for model in candidates):
        what = f"no candidate declares all of {', '.join(wanted)}"
    else:
        longest = max(model.context_tokens or 0 for model in candidates if needs <= model.capabilities)
        what = f"about {n_tokens} tokens fit no candidate's context; the longest is {longest}"
    return bad_request(
        "unsupported_content",
        f"Route {route!r} cannot take this request: {what}. Leave that out, or name a model that takes it.",
        "messages",
    )
