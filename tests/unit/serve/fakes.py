"""Routers that do what a test says, and a runtime around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from prefroute.policy import Policy, Threshold
from prefroute.prices import Price
from prefroute.routers import PoolRouter, Router, RouterState
from prefroute.serve.runtime import Model, Route, Runtime
from prefroute.types import Battles, FloatArray, Mixture, Outcomes


class ScriptedRouter(Router):
    """Scores by a function of the text; notes each call."""

    kind: ClassVar[str] = "scripted"

    def __init__(self, score: Callable[[str], float]) -> None:
        self.score = score
        self.strong, self.weak = "strong", "weak"
        self.calls: list[list[str]] = []

    def fit(self, data: Battles | Outcomes | Mixture) -> Self:
        return self

    def win_rate(self, prompts: Sequence[str]) -> FloatArray:
        self.calls.append(list(prompts))
        return np.array([self.score(prompt) for prompt in prompts], dtype=np.float64)

    def state(self) -> RouterState:
        return RouterState()

    def restore(self, state: RouterState) -> Self:
        return self


class ScriptedPool(PoolRouter, ScriptedRouter):
    """Knows a quality of each model, whatever the text."""

    def __init__(self, quality: dict[str, float]) -> None:
        super().__init__(lambda text: 0.5)
        self.models = tuple(quality)
        self.quality = list(quality.values())

    def predict(self, prompts: Sequence[str]) -> FloatArray:
        return np.tile(self.quality, (len(prompts), 1))


def model(
    name: str, usd_in: float | None = 1.0, usd_out: float = 1.0, cached_share: float = 0.25, **fields: Any
) -> Model:
    price = None if usd_in is None else Price(usd_in, usd_out, as_of="", source="", cached_share=cached_share)
    return Model(name, name, "http://127.0.0.1:1/v1", {}, price=price, **fields)


def route(router: Router | None = None, policy: Policy | None = None, **fields: Any) -> Route:
    defaults: dict[str, Any] = {
        "name": "auto",
        "fingerprint": "f" * 64,
        "candidates": ("big", "small"),
        "strong": "big",
        "weak": "small",
        "fallbacks": ("big", "small"),
        "default": "big",
        "deadline_s": 20.0,  # no test fails on a busy machine
    }
    scored = ScriptedRouter(lambda text: 0.9 if "hard" in text else 0.1) if router is None else router
    return Route(**defaults | {"router": scored, "policy": policy or Threshold(0.5)} | fields)


def runtime(*routes: Route, models: Sequence[Model] = ()) -> Runtime:
    named = {each.name: each for each in (models or (model("big", 10.0, 30.0), model("small", 0.2, 0.2)))}
    return Runtime(named, {each.name: each for each in routes or (route(),)}, digest="d")
