"""From the words on the line to routers: a checkpoint folder, `default`, or a registered kind."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefroute.errors import CheckpointError, ConfigError, nearest

if TYPE_CHECKING:
    from prefroute.checkpoint import Checkpoint
    from prefroute.policy import Threshold
    from prefroute.routers import Router
    from prefroute.settings.model import Settings
    from prefroute.types import Embedder

__all__ = [
    "is_kind",
    "make_router",
    "open_cached_embedder",
    "open_router",
    "saved_threshold",
]

_EVEN_CHANCE = 0.5  # strong where its answer is at least as likely to be preferred; for routers never calibrated


def is_kind(name: str) -> bool:
    """Whether the word names a registered kind of router; write `./knn` for a folder of that name."""
    from prefroute.routers import routers

    return name in routers


def open_router(name: str, *, with_policy: bool = True) -> Checkpoint:
    """The fitted router that `default` or a checkpoint folder holds.

    "router-NAME-THRESHOLD", as RouteLLM writes it, opens NAME with that threshold in place of the saved one.
    Without the policy a checkpoint is opened even where its policy is unsound.

    Raises:
        CheckpointError: If the folder does not exist or holds no sound checkpoint.
        ConfigError: If the word is a registered kind, which is not fitted, or looks like a misspelt one.
    """
    from prefroute.checkpoint import open_checkpoint
    from prefroute.policy import parse_router_name
    from prefroute.routers import routers

    if name == "default" or Path(name).is_dir():
        return open_checkpoint(name, with_policy=with_policy)
    if named := parse_router_name(name):
        return replace(open_router(named[0]), policy=named[1])
    if is_kind(name):
        raise ConfigError(f"{name!r} is a kind of router, and not fitted. Train it: prefroute train {name} --data ...")
    raise CheckpointError(
        f"{nearest(name, [*routers.names(), 'default'], 'router')} Or give a checkpoint: there is no folder {name!r}."
    )


def saved_threshold(checkpoint: Checkpoint) -> Threshold:
    """The threshold that was calibrated for the router, or 0.5 where none was."""
    from prefroute.policy import Threshold

    return checkpoint.policy if isinstance(checkpoint.policy, Threshold) else Threshold(_EVEN_CHANCE)


def open_cached_embedder(spec: str, settings: Settings, progress: Callable[[int, int], None]) -> Embedder:
    """An embedder whose vectors are kept on disk, so that a second run takes seconds."""
    from prefroute.embed import open_embedder
    from prefroute.settings import cache_dir

    endpoint = None
    if settings.openai is not None:
        from prefroute.http import Endpoint

        given = settings.openai
        key = given.api_key.get_secret_value() if given.api_key else None
        endpoint = Endpoint(given.base_url, key, timeout_s=given.timeout_s)
    return open_embedder(spec, cache_dir=cache_dir(), progress=progress, endpoint=endpoint)


def make_router(
    kind: str, strong: str, weak: str, *, embedder: Embedder | None, seed: int, params: Mapping[str, Any]
) -> Router:
    """An unfitted router; `embedder` and `seed` go to kinds that take them.

    Raises:
        ConfigError: If the kind or a parameter is unknown, or a parameter's value is refused.
    """
    from prefroute.routers import routers

    router_class = routers.get(kind)
    accepted = set(inspect.signature(router_class).parameters)
    settable = accepted - {"strong", "weak", "embedder", "seed"}
    for name in params:
        if name not in settable:
            raise ConfigError(nearest(name, settable, f"parameter of {kind}"))
    offered = {"strong": strong, "weak": weak, "embedder": embedder, "seed": seed}
    arguments = {name: value for name, value in offered.items() if name in accepted}
    return router_class(**arguments, **params)
