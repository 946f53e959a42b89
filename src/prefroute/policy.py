"""Policies choose a model from scores and prices. They never see text, and never make a score.

The door is `Threshold` (two models) and `CostQuality` (any number), and `policy_from_dict` for what a checkpoint
stores. A policy is deterministic: the propensity of the model that it chose is 1.0, and is logged with each decision,
since it cannot be recovered later. The fingerprint of the router that a policy was calibrated for is kept beside it
by the checkpoint.

Shapes: n prompts, m models.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from prefroute.errors import ConfigError, DataError, nearest
from prefroute.types import FloatArray, IndexArray

__all__ = ["CostQuality", "Policy", "Threshold", "parse_router_name", "policy_from_dict"]


def _setting(kind: str, name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"`{name}` of the policy {kind!r} must be a finite number, got {value!r}.")
    return float(value)


def _only(kind: str, name: str, stored: Mapping[str, Any]) -> Any:
    if set(stored) != {"kind", name} or stored["kind"] != kind:
        raise ConfigError(f"The policy {kind!r} is stored as the keys 'kind' and {name!r}, got {sorted(stored)}.")
    return stored[name]


@dataclass(frozen=True, slots=True)
class Threshold:
    """Strong model iff win rate >= alpha.

    Attributes:
        alpha: The cost threshold, in [0, 1]: 0 sends everything to the strong model; higher is cheaper.
        propensity: Probability with which the chosen model was chosen: 1.0, the policy never draws.

    Raises:
        ConfigError: If alpha is not a number in [0, 1].

    Source: Ong et al. 2024, arXiv:2406.18665, sec. 2 (there: R_alpha).

    Example:
        >>> Threshold(0.5).choose(np.array([0.2, 0.5, 0.9]))
        array([False,  True,  True])
    """

    alpha: float
    kind: ClassVar[str] = "threshold"
    propensity: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        """Check alpha once; see Raises."""
        if not 0 <= _setting(self.kind, "alpha", self.alpha) <= 1:
            raise ConfigError(f"`alpha` must be in [0, 1], got {self.alpha!r}. It is compared with win rates.")

    def choose(self, win_rate: FloatArray) -> npt.NDArray[np.bool_]:
        """True where the strong model is chosen, shape (n,).

        Args:
            win_rate: P(strong preferred to weak), in [0, 1], shape (n,).

        Raises:
            DataError: If a win rate is NaN or outside [0, 1].
        """
        is_good = (win_rate >= 0) & (win_rate <= 1)
        if not is_good.all():
            row = int(np.argmin(is_good))
            raise DataError(f"Row {row}: `win_rate` must be in [0, 1], got {win_rate[row]}.")
        return np.asarray(win_rate >= self.alpha)

    def takes_strong(self, win_rate: float) -> bool:
        """Whether one win rate, in [0, 1], is given to the strong model: `choose` without arrays.

        Example:
            >>> Threshold(0.5).takes_strong(0.5)
            True
        """
        return win_rate >= self.alpha

    def to_dict(self) -> dict[str, Any]:
        """JSON values from which `from_dict` makes an equal policy."""
        return {"kind": self.kind, "alpha": self.alpha}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Threshold:
        """The policy that `to_dict` was called on.

        Raises:
            ConfigError: If a key is missing, unknown or of the wrong type or range.
        """
        return cls(_setting(cls.kind, "alpha", _only(cls.kind, "alpha", stored)))


@dataclass(frozen=True, slots=True)
class CostQuality:
    """The model with the greatest quality minus weighted price; of equals the cheapest, then the first.

    Attributes:
        usd_weight: Quality that one US dollar per request is worth, >= 0: 0 looks at quality alone.
        propensity: Probability with which the chosen model was chosen: 1.0, the policy never draws.

    Raises:
        ConfigError: If the weight is not a finite number >= 0.

    Example:
        >>> CostQuality(10.0).choose(np.array([[0.9, 0.8], [0.9, 0.4]]), np.array([0.02, 0.001]))
        array([1, 0])
    """

    usd_weight: float
    kind: ClassVar[str] = "cost_quality"
    propensity: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        """Check the weight once; see Raises."""
        if _setting(self.kind, "usd_weight", self.usd_weight) < 0:
            raise ConfigError(f"`usd_weight` must be >= 0, got {self.usd_weight!r}.")

    def choose(self, quality: FloatArray, price_usd: FloatArray) -> IndexArray:
        """Column of the chosen model for each prompt, shape (n,).

        Args:
            quality: Expected quality of each model's answer, shape (n, m), m >= 1.
            price_usd: What one request costs, >= 0, shape (m,) or (n, m).

        Raises:
            DataError: If shapes do not match, or a value is NaN, infinite or a negative price.
        """
        if quality.ndim != 2 or quality.shape[1] == 0 or price_usd.shape not in (quality.shape, quality.shape[1:]):
            raise DataError(
                "`quality` must have shape (n_prompts, n_models) and `price_usd` (n_models,) or the same, "
                f"got {quality.shape} and {price_usd.shape}."
            )
        if not np.isfinite(quality).all():
            raise DataError("`quality` must be finite, got NaN or infinity. A policy needs a score for every model.")
        if not (np.isfinite(price_usd) & (price_usd >= 0)).all():
            raise DataError("`price_usd` must be finite and >= 0. Name a price for every model.")
        price = np.broadcast_to(price_usd, quality.shape)
        value = quality - self.usd_weight * price  # (n, m)
        best = value == value.max(axis=1, keepdims=True)
        return np.asarray(np.where(best, price, np.inf).argmin(axis=1))

    def to_dict(self) -> dict[str, Any]:
        """JSON values from which `from_dict` makes an equal policy."""
        return {"kind": self.kind, "usd_weight": self.usd_weight}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> CostQuality:
        """The policy that `to_dict` was called on.

        Raises:
            ConfigError: If a key is missing, unknown or of the wrong type or range.
        """
        return cls(_setting(cls.kind, "usd_weight", _only(cls.kind, "usd_weight", stored)))


Policy: TypeAlias = Threshold | CostQuality

_DECIMAL = re.compile(r"\d+(\.\d*)?|\.\d+", re.ASCII)  # `float` takes more: spaces, underscores, every script's digits
_KINDS: Mapping[str, type[Threshold] | type[CostQuality]] = {kind.kind: kind for kind in (Threshold, CostQuality)}


def policy_from_dict(stored: Mapping[str, Any]) -> Policy:
    """The policy that a `to_dict` described, of whichever kind.

    Raises:
        ConfigError: If the kind is unknown or a value does not fit it.

    Example:
        >>> policy_from_dict({"kind": "threshold", "alpha": 0.25})
        Threshold(alpha=0.25)
    """
    if not isinstance(stored, Mapping):
        raise ConfigError(f"A stored policy must be an object with a `kind`, got {type(stored).__name__}.")
    kind = str(stored.get("kind"))
    if kind not in _KINDS:
        raise ConfigError(nearest(kind, _KINDS, "policy"))
    return _KINDS[kind].from_dict(stored)


def parse_router_name(name: str) -> tuple[str, Threshold] | None:
    """Router and threshold of a name such as "router-mf-0.11593", as RouteLLM writes them; None for another name.

    Args:
        name: "router-", a router's name (hyphens are allowed), "-", a threshold in [0, 1].

    Raises:
        ConfigError: If the threshold is not in [0, 1].

    Example:
        >>> parse_router_name("router-mf-0.11593")
        ('mf', Threshold(alpha=0.11593))
        >>> parse_router_name("gpt-4") is None
        True
    """
    prefix, _, rest = name.partition("-")
    router, _, threshold = rest.rpartition("-")
    if prefix != "router" or not router:
        return None
    if _DECIMAL.fullmatch(threshold) is None:
        return None
    return router, Threshold(float(threshold))
