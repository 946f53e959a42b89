"""Who answers a request: the model that the policy chooses among those that can, and who stands in for it.

The door is `Planner.plan`, and `resolve` for what a client's `model` names. It puts together what needs, scores,
policy, exploration and prompt caches say (docs/how-to/routing-decisions.md), and calls no model. It never sees a
request's body, only its `Conversation`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from prefroute.errors import ConfigError, nearest
from prefroute.policy import CostQuality, Policy, Threshold, parse_router_name
from prefroute.routers import NoveltyRouter, PoolRouter
from prefroute.serve.conversation import Conversation
from prefroute.serve.faults import Fault, bad_request, not_found
from prefroute.serve.needs import can_take, unsupported
from prefroute.serve.runtime import Route, Runtime
from prefroute.serve.scoring import Score, Scorer
from prefroute.serve.stickiness import WarmPrefixes, request_usd

__all__ = ["Plan", "Planner", "Target", "resolve"]

_MARGIN = 4  # code, digits and some scripts take more tokens than estimated: a quarter more is reckoned with
_LONGEST_NAME = 200  # of a route or model; comparing a longer one with each would take long


@dataclass(frozen=True, slots=True)
class Target:
    """What a client's `model` names.

    Attributes:
        name: The route's or model's own name: what a key's rights are about.
        route: None where a model is named.
        policy: The route's, or the threshold that the client chose.
    """

    name: str
    route: Route | None
    policy: Policy | None


def resolve(
    runtime: Runtime,
    requested: str,
    *,
    may_choose_threshold: bool,
    may_ask: Callable[[str], bool] = lambda _: True,
) -> Target:
    """The route or model of a name, or of RouteLLM's `router-NAME-THRESHOLD`.

    NAME is a route, or else the kind or name of a router that one route alone has.

    Args:
        runtime: What there is.
        requested: As the client wrote it.
        may_choose_threshold: Whether the key has that right.
        may_ask: Whether the key may ask for a route or model; messages name no other. What is found is not asked about.

    Raises:
        Fault: 404 for an unknown name, 403 for a threshold without the right, 400 for one outside [0, 1] or for a NAME
            that fits several routes.
    """
    if requested in runtime.routes:
        route = runtime.routes[requested]
        return Target(requested, route, route.policy)
    if requested in runtime.models:
        return Target(requested, None, None)
    try:
        parsed = parse_router_name(requested)
    except ConfigError as exc:
        raise bad_request("invalid_value", f"The threshold in `model` is wrong. {exc}", "model") from exc
    found = [] if parsed is None else _called(runtime, parsed[0])
    if parsed is None or not found:
        known = filter(may_ask, (*runtime.routes, *runtime.models))
        raise not_found("model_not_found", nearest(requested[:_LONGEST_NAME], known, "model"), "model")
    if not may_choose_threshold:
        message = "This key may not choose a threshold. Ask for a route, or for a key with `choose_threshold`."
        raise Fault(403, "permission_denied", message, type_="permission_error", param="model")
    if len(found) > 1:
        names = ", ".join(filter(may_ask, (route.name for route in found)))
        message = f"Several routes have a router {parsed[0]!r}. Name the route instead: {names}."
        raise bad_request("invalid_value", message, "model")
    return Target(found[0].name, found[0], parsed[1])


def _called(runtime: Runtime, name: str) -> list[Route]:
    """The routes that NAME in `router-NAME-THRESHOLD` can mean."""
    if name in runtime.routes:
        return [runtime.routes[name]]
    return [route for route in runtime.routes.values() if name in (route.router.kind, route.router_name)]


class Plan(NamedTuple):
    """Who answers, and why.

    Attributes:
        order: The chosen model, then those that are tried when it fails.
        reason: "policy", "sticky", "explored", "only_capable", "named", "scorer_error", "scorer_late" or
            "nothing_to_score".
        route: Name of the route; None where a model was named.
        router: Fingerprint of the route's router.
        win_rate: The router's score, in [0, 1]; None where it was not asked or did not answer.
        scores: Expected quality of each capable candidate, for a policy that weighs them.
        threshold: What the win rate was compared with.
        propensity: Probability with which `chosen` was chosen, in (0, 1].
        scoring_s: How long the request waited for its score; None where none was asked for.
        conversation: Whose prompt caches `Planner.remember` notes; None where they do not matter.
        tokens_in: Estimate of the tokens that the model reads.
    """

    order: tuple[str, ...]
    reason: str
    route: str | None = None
    router: str | None = None
    win_rate: float | None = None
    scores: dict[str, float] | None = None
    threshold: float | None = None
    propensity: float = 1.0
    scoring_s: float | None = None
    conversation: bytes | None = None
    tokens_in: int = 0

    @property
    def chosen(self) -> str:
        """The model that the policy chose, before any fallback."""
        return self.order[0]


class _Choice(NamedTuple):
    """What a policy chose, and from what."""

    model: str
    reason: str
    win_rate: float | None = None
    scores: dict[str, float] | None = None
    scoring_s: float | None = None


class Planner:
    """Plans the requests of one event loop.

    Args:
        scorer: Asks the routers.
        prefixes: What upstream prompt caches hold.
        draw: Draws for `epsilon`; a seeded one repeats itself.
    """

    def __init__(
        self, scorer: Scorer | None = None, prefixes: WarmPrefixes | None = None, draw: random.Random | None = None
    ) -> None:
        self.scorer = Scorer() if scorer is None else scorer
        self.prefixes = WarmPrefixes() if prefixes is None else prefixes
        self.draw = random.Random() if draw is None else draw  # noqa: S311 - no secret depends on it

    def prepare(self, runtime: Runtime) -> None:
        """Get ready for a runtime's routers; blocks for tens of milliseconds: not for the event loop."""
        self.scorer.prepare(runtime.routes.values())

    async def plan(
        self,
        runtime: Runtime,
        target: Target,
        conversation: Conversation,
        *,
        key_id: str | None = None,
    ) -> Plan:
        """Who answers a request.

        Args:
            runtime: What there is; the same for the whole of a request.
            target: What the client's `model` names, of `resolve`.
            conversation: Of `read_conversation`.
            key_id: Whose request it is: keys do not share conversations.

        Raises:
            Fault: 400 `unsupported_content` where no candidate can take the request.
        """
        route, policy = target.route, target.policy
        if route is None or policy is None:
            return Plan(order=(target.name,), reason="named", tokens_in=conversation.tokens_in)
        request = _Request(runtime, route, conversation, _conversation_key(route, conversation, key_id))
        if isinstance(policy, Threshold):
            choice = await self._by_threshold(request, policy)
        else:
            choice = await self._by_price(request, policy)
        choice, propensity = self._explore(request, choice)
        return Plan(
            order=request.order(choice.model),
            reason=choice.reason,
            route=route.name,
            router=route.fingerprint,
            win_rate=choice.win_rate,
            scores=choice.scores,
            threshold=policy.alpha if isinstance(policy, Threshold) else None,
            propensity=propensity,
            scoring_s=choice.scoring_s,
            conversation=request.key,
            tokens_in=conversation.tokens_in,
        )

    def remember(self, plan: Plan, model: str) -> None:
        """Note that a model has begun to answer, and so holds the conversation in its prompt cache."""
        if plan.conversation is not None:
            self.prefixes.remember(plan.conversation, model, plan.tokens_in)

    async def novelty(self, runtime: Runtime, plan: Plan, text: str) -> float | None:
        """How unlike the router's training data a text is, in [0, 1]; None where the router cannot tell in time."""
        route = None if plan.route is None else runtime.routes.get(plan.route)
        if route is None or not isinstance(route.router, NoveltyRouter) or not route.router.tells_novelty:
            return None
        score = await self.scorer.novelty(route, text)
        return None if score.row is None else float(score.row)

    async def embedding(self, runtime: Runtime, plan: Plan, text: str) -> tuple[bytes, str] | None:
        """The text as the router's embedder sees it, little-endian float16, and the embedder's id.

        None where the router has no embedder, or the embedder does not answer in time.
        """
        route = None if plan.route is None else runtime.routes.get(plan.route)
        embedder = getattr(route.router, "embedder", None) if route is not None else None
        if route is None or embedder is None:
            return None
        score = await self.scorer.embedding(route, embedder, text)
        return None if score.row is None else (score.row.astype("<f2").tobytes(), embedder.id)

    async def _by_threshold(self, request: _Request, policy: Threshold) -> _Choice:
        """Strong or weak; where only one of them can take the request, it does, or else the first that can."""
        route = request.route
        pair = [name for name in (route.strong, route.weak) if name in request.capable]
        if len(pair) < 2:
            return _Choice((pair or request.capable)[0], "only_capable")
        score = await self.scorer.win_rate(route, request.conversation.text)
        if score.row is None:
            return _default(request, score)
        win_rate = float(score.row)
        is_strong = policy.takes_strong(win_rate)
        is_sticky = not is_strong and self._is_warm_strong_cheaper(request)
        model = route.strong if is_strong or is_sticky else route.weak
        return _Choice(model, "sticky" if is_sticky else "policy", win_rate, None, score.seconds)

    async def _by_price(self, request: _Request, policy: CostQuality) -> _Choice:
        """The candidate with the best quality for its price, prompt caches counted."""
        if len(request.capable) == 1:
            return _Choice(request.capable[0], "only_capable")
        router = request.route.router
        assert isinstance(router, PoolRouter)  # `load_runtime` refuses another
        score = await self.scorer.qualities(request.route, request.conversation.text)
        if score.row is None:
            return _default(request, score)
        scores = {name: float(score.row[router.models.index(name)]) for name in request.capable}
        cold = best = _best(policy, scores, [request.usd(name) for name in scores])
        if request.key is not None:
            best = _best(policy, scores, [request.usd(name, self._warm(request.key, name)) for name in scores])
        return _Choice(best, "policy" if best == cold else "sticky", None, scores, score.seconds)

    def _is_warm_strong_cheaper(self, request: _Request) -> bool:
        """Whether the strong model, with the conversation in its cache, costs less than the weak one would."""
        strong, weak = request.route.strong, request.route.weak
        if request.key is None or not (warm := self._warm(request.key, strong)):
            return False
        return request.usd(strong, warm) < request.usd(weak, self._warm(request.key, weak))

    def _warm(self, key: bytes, model: str) -> int:
        return self.prefixes.tokens(key, model)

    def _explore(self, request: _Request, choice: _Choice) -> tuple[_Choice, float]:
        """The choice or, for a share `epsilon` of requests, one of the capable drawn evenly; and its probability."""
        epsilon, capable = request.route.epsilon, request.capable
        if not epsilon or choice.reason not in ("policy", "sticky"):
            return choice, 1.0
        drawn = choice
        if self.draw.random() < epsilon:
            drawn = choice._replace(model=self.draw.choice(capable), reason="explored")
        by_policy = 1 - epsilon if drawn.model == choice.model else 0.0
        return drawn, by_policy + epsilon / len(capable)


class _Request:
    """One request to a route."""

    def __init__(self, runtime: Runtime, route: Route, conversation: Conversation, key: bytes | None) -> None:
        self.runtime = runtime
        self.route = route
        self.conversation = conversation
        self.key = key  # of the conversation, where prompt caches matter
        self.n_tokens = conversation.n_tokens + conversation.tokens_in // _MARGIN
        self.capable = self._those_who_can()
        if not self.capable:  # the margin is a precaution: who may have room is better than nobody
            self.n_tokens = conversation.n_tokens
            self.capable = self._those_who_can()
        if not self.capable:
            models = [runtime.models[name] for name in route.candidates]
            raise unsupported(route.name, models, conversation.needs, conversation.n_tokens)

    def _those_who_can(self) -> tuple[str, ...]:
        return tuple([name for name in self.route.candidates if self._can_take(name)])

    def _can_take(self, name: str) -> bool:
        return can_take(self.runtime.models[name], self.conversation.needs, self.n_tokens)

    def usd(self, name: str, warm_tokens: int = 0) -> float:
        conversation = self.conversation
        return request_usd(self.runtime.models[name], conversation.tokens_in, conversation.max_tokens_out, warm_tokens)

    def order(self, chosen: str) -> tuple[str, ...]:
        others = [name for name in self.route.fallbacks if name != chosen]
        return (chosen, *[name for name in others if name in self.capable or self._can_take(name)])


def _best(policy: CostQuality, scores: dict[str, float], usd: list[float]) -> str:
    chosen = policy.choose(np.array([list(scores.values())]), np.array(usd))
    return list(scores)[int(chosen[0])]


def _default(request: _Request, score: Score) -> _Choice:
    """What a request gets whose router does not answer."""
    route = request.route
    model = next(name for name in (route.default, route.strong, *request.capable) if name in request.capable)
    return _Choice(model, str(score.trouble), scoring_s=score.seconds)


def _conversation_key(route: Route, conversation: Conversation, key_id: str | None) -> bytes | None:
    """None where stickiness is off or nothing identifies the conversation."""
    if not route.is_sticky or conversation.prefix_key is None:
        return None
    return conversation.prefix_key + (key_id or "").encode()
