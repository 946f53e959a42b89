"""From a configuration file to everything that requests are served with: checkpoints opened, policies made.

The door is `load_runtime`. It blocks, so a running server calls it in a thread. It must not serve anything.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path

import orjson

from prefroute.checkpoint import Checkpoint, open_checkpoint
from prefroute.errors import ConfigError, PrefrouteError, UpstreamError, nearest
from prefroute.policy import CostQuality, Policy, Threshold
from prefroute.prices import Price
from prefroute.routers import PoolRouter, Router
from prefroute.serve.config import GatewayConfig, ModelSection, PolicySection, RouteSection, read_gateway
from prefroute.serve.runtime import Deadlines, Model, Route, Runtime
from prefroute.settings.file import Key
from prefroute.types import Embedder

__all__ = ["is_remote", "load_runtime"]

_BEARER = "authorization"


def load_runtime(
    path: Path | str, *, previous: Runtime | None = None, with_keys: bool = True
) -> tuple[GatewayConfig, Runtime]:
    """The configuration in a file, and what it makes.

    Args:
        path: The YAML file.
        previous: What was loaded before; routers that have not changed are taken from it.
        with_keys: Whether the models' keys must be in the environment; without them no model can be asked.

    Raises:
        ConfigError: If anything is wrong with the file, a checkpoint or a policy; the message lists every problem with
            its file, line and key.
        UpstreamError: If a router's remote embedder does not answer.
    """
    read = read_gateway(path, with_keys=with_keys)
    models = {name: _model(name, section) for name, section in read.value.models.items()}
    checkpoints = _Checkpoints(previous)
    routes: dict[str, Route] = {}
    problems: list[tuple[Key, str]] = []
    for name, section in read.value.routes.items():
        at = "router"
        try:
            checkpoint = checkpoints.open(section.router)
            at = "policy"
            routes[name] = _route(name, section, checkpoint, models)
        except UpstreamError:
            raise
        except PrefrouteError as exc:
            problems.append((("routes", name, at), str(exc)))
    if problems:
        raise read.error(problems)
    made = {name: [route.fingerprint, route.policy.to_dict()] for name, route in routes.items()}
    digest = hashlib.sha256(orjson.dumps([read.sha256, made], option=orjson.OPT_SORT_KEYS)).hexdigest()
    return read.value, Runtime(models=models, routes=routes, digest=digest, file_sha256=read.sha256)


class _Checkpoints:
    """Opens each folder once, each embedder once, and makes no router a second time."""

    def __init__(self, previous: Runtime | None) -> None:
        routes = previous.routes.values() if previous is not None else ()
        self._known: dict[str, Router] = {route.fingerprint: route.router for route in routes}
        self._embedder = functools.cache(_open_embedder)
        self._opened: dict[str, Checkpoint] = {}

    def open(self, folder: str) -> Checkpoint:
        if folder not in self._opened:
            checkpoint = open_checkpoint(folder, opener=self._embedder, known=self._known, with_training=False)
            self._known[checkpoint.fingerprint] = checkpoint.router
            self._opened[folder] = checkpoint
        return self._opened[folder]


def _open_embedder(spec: str) -> Embedder:
    from prefroute.embed import open_embedder

    return open_embedder(spec)


def _model(name: str, section: ModelSection) -> Model:
    headers: dict[str, str] = {}
    if section.api_key is not None:
        key = section.api_key.get_secret_value()
        headers[section.key_header] = f"Bearer {key}" if section.key_header == _BEARER else key
    price = None
    if section.usd_per_mtok_in is not None and section.usd_per_mtok_out is not None:
        price = Price(
            section.usd_per_mtok_in,
            section.usd_per_mtok_out,
            as_of="",
            source="configuration",
            cached_share=section.cached_share,
        )
    return Model(
        name=name,
        upstream_name=section.model or name,
        base_url=section.base_url,
        headers=headers,
        query=tuple(section.query.items()),
        price=price,
        context_tokens=section.context_tokens,
        capabilities=frozenset(section.capabilities),
        deadlines=Deadlines(**section.timeouts.model_dump()),
    )


def _route(name: str, section: RouteSection, checkpoint: Checkpoint, models: Mapping[str, Model]) -> Route:
    router = checkpoint.router
    strong, weak = _pair(section, router)
    if section.strong is None and section.weak is None:
        _check_order(models[strong], models[weak])
    policy = _policy(section.policy, checkpoint)
    are_priced = all(models[candidate].price is not None for candidate in section.candidates)
    if isinstance(policy, CostQuality):
        _check_pool(section.candidates, router, are_priced)
    return Route(
        name=name,
        router=router,
        router_name=Path(section.router).name,
        fingerprint=checkpoint.fingerprint,
        candidates=section.candidates,
        strong=strong,
        weak=weak,
        policy=policy,
        fallbacks=section.candidates if section.fallbacks is None else section.fallbacks,
        default=section.default or strong,
        epsilon=section.epsilon,
        is_sticky=are_priced if section.sticky is None else section.sticky,
        deadline_s=section.deadline_ms / 1000,
        is_remote=is_remote(router),
    )


def _pair(section: RouteSection, router: Router) -> tuple[str, str]:
    """The candidates that stand for the router's strong and weak model."""
    names = section.candidates
    strong, weak = section.strong, section.weak
    if strong is None and router.strong in names and router.strong != weak:
        strong = router.strong
    if weak is None and router.weak in names and router.weak != strong:
        weak = router.weak
    strong = strong or next(name for name in names if name != weak)
    weak = weak or next(name for name in names[::-1] if name != strong)
    return strong, weak


def _check_order(strong: Model, weak: Model) -> None:
    """Refuse a pair that was only guessed from the order of the candidates, where prices say the opposite."""
    if strong.price is not None and weak.price is not None and strong.price.request_usd() < weak.price.request_usd():
        raise ConfigError(
            f"{strong.name!r} would stand for the strong model and {weak.name!r} for the weak one, but {strong.name!r} "
            "costs less. Turn the candidates round, or say which is which: `strong: NAME` and `weak: NAME`"
        )


def _policy(section: PolicySection | None, checkpoint: Checkpoint) -> Policy:
    if section is None:
        if checkpoint.policy is None:
            raise ConfigError(
                "neither the route nor its checkpoint has a policy. Add one, such as `policy: {strong_share: 0.3}`, "
                "or run prefroute calibrate"
            )
        return checkpoint.policy
    if section.threshold is not None:
        return Threshold(section.threshold)
    if section.usd_weight is not None:
        return CostQuality(section.usd_weight)
    assert section.strong_share is not None
    if section.prompts is not None:
        return _chosen_on(section.prompts, section.strong_share, checkpoint.router)
    ready = checkpoint.ready_threshold(section.strong_share)
    if ready is None:
        raise ConfigError(
            "the checkpoint has no table of thresholds. Add `prompts: FILE` with prompts of your own, from which the "
            "threshold for `strong_share` is chosen, or set `threshold`"
        )
    return ready


def _chosen_on(file: Path, strong_share: float, router: Router) -> Threshold:
    """The threshold that gives a share on the user's own prompts."""
    from prefroute.calibrate import calibrate
    from prefroute.data import read_prompts

    return calibrate(router, list(read_prompts(str(file))), strong_share=strong_share, n_boot=1).policy


def _check_pool(candidates: tuple[str, ...], router: Router, are_priced: bool) -> None:
    """Refuse to weigh quality against prices where either is not known for every candidate."""
    if not isinstance(router, PoolRouter):
        raise ConfigError(
            f"a {router.kind} router compares two models and knows no quality of each, which `usd_weight` needs. Use a "
            "router of many models (such as mf), or `threshold` or `strong_share`"
        )
    unknown = [name for name in candidates if name not in router.models]
    if unknown:
        raise ConfigError(f"the router cannot score every candidate. {nearest(unknown[0], router.models, 'model')}")
    if not are_priced:
        raise ConfigError("the checkpoint's policy weighs quality against prices. Give every candidate its prices")


def is_remote(router: Router) -> bool:
    """Whether scoring does I/O."""
    from prefroute.embed.remote import RemoteEmbedder

    return isinstance(getattr(router, "embedder", None), RemoteEmbedder)
