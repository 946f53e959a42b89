"""What the journal keeps of one request, as plain values.

The door is `RequestRow`, `AttemptRow` and `FeedbackRow`. Times are seconds; `started_at` is wall-clock time since 1970
in UTC, everything else is a duration from a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["AttemptRow", "FeedbackRow", "RequestRow"]


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One try at one upstream.

    Attributes:
        model: Name in the configuration.
        outcome: "ok", or the code of what went wrong ("upstream_timeout").
        status: The upstream's HTTP status; None where there was no answer.
        latency_s: Until it ended.
    """

    model: str
    outcome: str
    status: int | None
    latency_s: float


@dataclass(slots=True)
class RequestRow:
    """One request, filled in as it is served; written when it is admitted and again before its last byte leaves.

    Attributes:
        request_id: Of the `x-request-id` header.
        started_at: Wall-clock time, seconds since 1970, UTC.
        endpoint: "chat", "completions", "embeddings" or "route".
        key_id: Of the key that asked; None where the gateway has no keys.
        requested: The `model` that the client named.
        route: Name of the route; None where a model was named.
        model: The model that answered, or was chosen last; None before a choice.
        chosen: The model that the policy chose, before any fallback.
        router: Fingerprint of the router's checkpoint.
        win_rate: The router's score, in [0, 1].
        scores: Expected quality of each candidate, where the router knows more than a pair.
        threshold: What the win rate was compared with.
        propensity: Probability with which `chosen` was chosen, in (0, 1].
        reason: Why `model`: "policy", "sticky", "explored", "only_capable", "named", "scorer_error", "scorer_late",
            "nothing_to_score"; "fallback" where it is not `chosen`.
        attempts: In order.
        status: HTTP status that the client saw, 499 where it left; None while the request runs.
        error: Code of the error that the client saw; "interrupted" where the gateway died.
        is_stream: Whether the answer was streamed.
        tokens_in: Tokens read by the model that answered.
        tokens_cached: Of these, tokens from the upstream's prompt cache; None where it did not say.
        tokens_out: Tokens written.
        usage_source: "upstream" or "estimate".
        cost_usd: Of the answer, at the configured prices; None without a price.
        scoring_s: What the router took.
        latency_s: From the first byte in to the last byte out.
        first_token_s: From the first byte in to the first byte of content out.
        prompt_hash: Of what was scored (`prefroute.prompts.prompt_hash`).
        n_chars: Characters of what was scored.
        prompt: What was scored, where storing text is switched on.
        embedding: What was scored as the router's embedder sees it, float16 bytes, where that is switched on.
        embedder: Id of that embedder.
    """

    request_id: str
    started_at: float
    endpoint: str
    key_id: str | None = None
    requested: str | None = None
    route: str | None = None
    model: str | None = None
    chosen: str | None = None
    router: str | None = None
    win_rate: float | None = None
    scores: Mapping[str, float] | None = None
    threshold: float | None = None
    propensity: float | None = None
    reason: str | None = None
    attempts: list[AttemptRow] = field(default_factory=list)
    status: int | None = None
    error: str | None = None
    is_stream: bool = False
    tokens_in: int | None = None
    tokens_cached: int | None = None
    tokens_out: int | None = None
    usage_source: str | None = None
    cost_usd: float | None = None
    scoring_s: float | None = None
    latency_s: float | None = None
    first_token_s: float | None = None
    prompt_hash: str | None = None
    n_chars: int | None = None
    prompt: str | None = None
    embedding: bytes | None = None
    embedder: str | None = None


@dataclass(frozen=True, slots=True)
class FeedbackRow:
    """What the one who asked thinks of an answer; exactly one of `score` and `preferred` is given.

    Attributes:
        request_id: Of the request that it is about.
        key_id: Of the key that gives it; must be the one that asked.
        given_at: Wall-clock time, seconds since 1970, UTC.
        score: Quality of the answer, in [0, 1].
        preferred: The model whose answer is preferred.
    """

    request_id: str
    key_id: str | None
    given_at: float
    score: float | None = None
    preferred: str | None = None
