"""What the gateway serves with: models, routes and limits as plain values, made from the configuration at once.

The door is `Runtime`, made by `prefroute.serve.loading.load_runtime`. It is immutable: a reload makes another one and
swaps it, so that a request sees one configuration from its first byte to its last. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from prefroute.policy import Policy
from prefroute.prices import Price
from prefroute.routers import Router

__all__ = ["CAPABILITIES", "Capability", "Deadlines", "Model", "Route", "Runtime"]

Capability = Literal["tools", "images", "audio", "files", "json_schema"]
"""What a request may need beyond text, and a model may declare."""

CAPABILITIES: tuple[Capability, ...] = get_args(Capability)


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long one attempt at an upstream may take, seconds.

    Attributes:
        connect_s: Until the connection stands, TLS included.
        first_token_s: Of a stream: from the request to the first content.
        answer_s: Of an answer that is not streamed: from the request to its first byte, which comes when most models
            have written all of it.
        idle_s: Between two pieces of a stream or body.
        total_s: For the whole attempt.
    """

    connect_s: float = 5.0
    first_token_s: float = 60.0
    answer_s: float = 300.0
    idle_s: float = 30.0
    total_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Model:
    """One model that requests can go to.

    Attributes:
        name: What clients and routes call it.
        upstream_name: What its endpoint calls it.
        base_url: Up to and including `/v1`, without a query.
        headers: The key's header among them; never shown.
        query: Query of each request, such as `(("api-version", "2024-10-21"),)`.
        price: US dollars per million tokens; None where it is not known.
        context_tokens: Longest prompt with its answer, tokens; None where there is no known limit.
        capabilities: Of `CAPABILITIES`.
        deadlines: For each attempt.
    """

    name: str
    upstream_name: str
    base_url: str
    headers: Mapping[str, str] = field(repr=False)
    query: tuple[tuple[str, str], ...] = ()
    price: Price | None = None
    context_tokens: int | None = None
    capabilities: frozenset[str] = frozenset()
    deadlines: Deadlines = Deadlines()


@dataclass(frozen=True, slots=True)
class Route:
    """A name that clients use as a model, and how a model is chosen for it.

    Attributes:
        name: Such as "auto".
        router: Scores the conversation.
        router_name: What the configuration calls it: "default", or the last part of its folder.
        fingerprint: Of the router's checkpoint; goes to the journal with each decision.
        candidates: Models to choose from, names in `Runtime.models`, >= 2.
        strong: The candidate that stands for the router's strong model.
        weak: The candidate that stands for the router's weak model.
        policy: Chooses from the scores.
        fallbacks: Models to try, in this order, when the chosen one fails before its first byte.
        default: The model when scoring fails or is late.
        epsilon: Share of requests that get a candidate drawn at random, in [0, 1), so that the journal can be learned
            from; its propensity is logged.
        is_sticky: Whether a conversation stays on its model while a switch costs more than it saves; only where every
            candidate has a price.
        deadline_s: How long scoring may take.
        is_remote: Whether scoring does I/O, and so never runs on the event loop.
    """

    name: str
    router: Router
    fingerprint: str
    candidates: tuple[str, ...]
    strong: str
    weak: str
    policy: Policy
    router_name: str = ""
    fallbacks: tuple[str, ...] = ()
    default: str = ""
    epsilon: float = 0.0
    is_sticky: bool = False
    deadline_s: float = 0.15
    is_remote: bool = False


@dataclass(frozen=True, slots=True)
class Runtime:
    """Everything that a request is served with.

    Attributes:
        models: By name.
        routes: By name; no name is both a model's and a route's.
        digest: SHA-256 over the configuration file, the routers' fingerprints and the policies, hexadecimal.
        file_sha256: SHA-256 of the configuration file alone, hexadecimal.
    """

    models: Mapping[str, Model]
    routes: Mapping[str, Route]
    digest: str
    file_sha256: str = ""
