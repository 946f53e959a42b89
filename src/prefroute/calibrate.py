"""Calibration: the threshold that gives a wanted strong-call share, mean cost or quality on the user's own prompts.

The door is `calibrate`. It reads scores, never trains. Its result is not bound to a router yet: whoever saves it adds
the router's fingerprint.

Shapes: n prompts, k distinct scores, so k + 1 places where the threshold can cut; place 0 sends nothing to the strong
model, place k everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from prefroute.curve import check_column, score_blocks
from prefroute.errors import ConfigError, DataError
from prefroute.metrics import Interval, interval, resample_counts
from prefroute.policy import Threshold
from prefroute.prices import request_price_usd
from prefroute.routers import Router
from prefroute.types import FloatArray, IndexArray, Outcomes

__all__ = ["Calibration", "calibrate"]

TARGETS = ("strong_share", "mean_cost_usd", "pgr")

_ROUNDING = 1e-12  # sums of shares round: 3 of 10 prompts are a share of 0.3


@dataclass(frozen=True, slots=True)
class Calibration:
    """A threshold, and what it will achieve.

    Each interval is the 95% range of what the threshold achieves on much new traffic of the same kind. The bootstrap
    repeats the whole calibration: a threshold is chosen on each resample, and what it gives on all prompts is set
    against what the resample promised; the 2.5% and 97.5% points of that difference are added to `value`.

    Attributes:
        policy: Strong model iff win rate >= `policy.alpha`.
        target: What was asked for: "strong_share", "mean_cost_usd" or "pgr".
        wanted: Its value.
        n: Number of prompts that it was chosen on.
        strong_share: Share of prompts sent to the strong model, in [0, 1].
        mean_cost_usd: Mean cost of a request, US dollars; None where no price is known.
        quality: Mean quality of what is routed, in [0, 1]; None where no outcomes were given.
        pgr: Share of the quality gap that is recovered; None likewise, or where there is no gap.
        note: What stood in the way of the exact target, or an empty string.
    """

    policy: Threshold
    target: str
    wanted: float
    n: int
    strong_share: Interval
    mean_cost_usd: Interval | None
    quality: Interval | None
    pgr: Interval | None
    note: str

    def to_dict(self) -> dict[str, Any]:
        """JSON values: every field by name; null where an interval is undefined."""
        told = asdict(self) | {"policy": self.policy.to_dict()}
        for cell in told.values():
            if isinstance(cell, dict):
                cell.update({key: None for key, value in cell.items() if value != value})  # noqa: PLR0124 - NaN
        return told


def calibrate(
    router: Router,
    data: Sequence[str] | Outcomes,
    *,
    strong_share: float | None = None,
    mean_cost_usd: float | None = None,
    pgr: float | None = None,
    prices: Mapping[str, float] | None = None,
    n_boot: int = 2000,
    seed: int = 0,
) -> Calibration:
    """The threshold for exactly one of three targets.

    For a share or a cost, the nearest place that does not exceed the target; for PGR, the smallest share that
    reaches it. Prompts of equal score are never torn apart.

    Args:
        router: A fitted router.
        data: The user's prompts, or their outcomes, n of them; `pgr` needs outcomes.
        strong_share: Wanted share of prompts for the strong model, in [0, 1].
        mean_cost_usd: Wanted mean cost of a request, US dollars.
        pgr: Wanted share of the quality gap, in (0, 1].
        prices: Model -> USD per request, before the built-in table; costs in outcomes come before both.
        n_boot: Number of resamples, at least 1.
        seed: Of the resamples.

    Raises:
        ConfigError: If not exactly one target is given, or it is out of range, or a price is missing.
        DataError: If the target cannot be reached on these prompts, or there are none.
    """
    target, wanted = _target({"strong_share": strong_share, "mean_cost_usd": mean_cost_usd, "pgr": pgr})
    if n_boot < 1:
        raise ConfigError(f"`n_boot` must be at least 1, got {n_boot}.")
    if target == "pgr" and not isinstance(data, Outcomes):
        raise ConfigError("Calibrating for PGR needs outcomes of both models, got prompts. Give them: --outcomes PATH.")
    ladder = _Ladder.of(router, data, prices, needs_cost=target == "mean_cost_usd")
    real = ladder.levels(np.ones((1, ladder.n)))
    _check_reach(real, target, wanted)
    place = int(_places(real, target, wanted)[0])
    draws: dict[str, list[FloatArray]] = {name: [] for name in real}
    for counts in resample_counts(ladder.n, n_boot, seed):
        levels = ladder.levels(counts)
        at = _places(levels, target, wanted)
        for name, level in levels.items():
            surprise = real[name][0, at] - level[np.arange(len(at)), at]
            draws[name].append(real[name][0, place] + surprise)
    achieved = {name: interval(float(real[name][0, place]), np.concatenate(draws[name])) for name in real}
    achieved = {name: found for name, found in achieved.items() if np.isfinite(found.value)}  # PGR without a gap
    shares = achieved["strong_share"]
    return Calibration(
        policy=Threshold(_alpha(ladder.scores, place)),
        target=target,
        wanted=wanted,
        n=ladder.n,
        strong_share=replace(shares, low=max(shares.low, 0.0), high=min(shares.high, 1.0)),
        mean_cost_usd=achieved.get("mean_cost_usd"),
        quality=achieved.get("quality"),
        pgr=achieved.get("pgr"),
        note=_note(ladder, real[target][0], target, wanted, place),
    )


def _target(given: Mapping[str, float | None]) -> tuple[str, float]:
    chosen = [(name, value) for name, value in given.items() if value is not None]
    if len(chosen) != 1:
        names = ", ".join(name for name, _ in chosen) or "none"
        raise ConfigError(f"Calibrate for exactly one of {', '.join(TARGETS)}, got {names}.")
    name, value = chosen[0]
    low, high = {"strong_share": (0.0, 1.0), "mean_cost_usd": (0.0, np.inf), "pgr": (0.0, 1.0)}[name]
    if not low <= value <= high or value == np.inf or (name == "pgr" and value == 0):
        wanted = {"strong_share": "in [0, 1]", "mean_cost_usd": "a number >= 0", "pgr": "in (0, 1]"}[name]
        raise ConfigError(f"`{name}` must be {wanted}, got {value!r}.")
    return name, float(value)


@dataclass(frozen=True, slots=True, eq=False)
class _Ladder:
    """Prompts from the best score down, in blocks of equal scores.

    `scores` (k,) falls; `order` and `starts` are those of `score_blocks`; `extra_cost` and `gain` (n,) are strong minus
    weak, in row order.
    """

    n: int
    scores: FloatArray
    order: IndexArray
    starts: IndexArray
    weak_cost: FloatArray | None
    extra_cost: FloatArray | None
    weak_quality: FloatArray | None
    gain: FloatArray | None

    @classmethod
    def of(
        cls, router: Router, data: Sequence[str] | Outcomes, prices: Mapping[str, float] | None, needs_cost: bool
    ) -> _Ladder:
        weak_quality = gain = None
        if isinstance(data, Outcomes):
            data = data.select((router.strong, router.weak))
            data = data.take(np.flatnonzero(~np.isnan(data.quality).any(axis=1)))
            weak_quality, gain = data.quality[:, 1], data.quality[:, 0] - data.quality[:, 1]
        prompts = data.prompts if isinstance(data, Outcomes) else data
        if not len(prompts):
            raise DataError("Calibration needs prompts (with both models' outcomes, if a table is given), got 0.")
        # Each distinct prompt is scored once: in a batch, equal prompts may differ in the last bits, by their rows.
        place = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
        scored = router.win_rate(list(place))
        check_column("win_rate", scored, len(place))
        win_rate = scored[[place[prompt] for prompt in prompts]]
        costs = _costs(router, data, prices, needs_cost)
        order, starts = score_blocks(win_rate)
        weak_cost, extra = (None, None) if costs is None else (costs[:, 1], costs[:, 0] - costs[:, 1])
        return cls(len(prompts), win_rate[order][starts], order, starts, weak_cost, extra, weak_quality, gain)

    def rise(self, values: FloatArray, counts: FloatArray) -> FloatArray:
        """Mean over drawn prompts of `values` at each place, where those above the cut count: (b, n) -> (b, k + 1)."""
        drawn = np.take(counts, self.order, axis=1) * values[self.order]
        steps = np.add.reduceat(drawn, self.starts, axis=1)
        return np.concatenate([np.zeros((len(counts), 1)), np.cumsum(steps, axis=1)], axis=1) / self.n

    def levels(self, counts: FloatArray) -> dict[str, FloatArray]:
        """What each place gives on each resample, by name, each (b, k + 1); PGR is NaN where there is no gap."""
        found = {"strong_share": self.rise(np.ones(self.n), counts)}
        if self.extra_cost is not None and self.weak_cost is not None:
            base = counts @ self.weak_cost / self.n
            found["mean_cost_usd"] = base[:, None] + self.rise(self.extra_cost, counts)
        if self.gain is not None and self.weak_quality is not None:
            gained = self.rise(self.gain, counts)
            found["quality"] = (counts @ self.weak_quality / self.n)[:, None] + gained
            found["pgr"] = gained / np.where(gained[:, -1:] > 0, gained[:, -1:], np.nan)
        return found


def _costs(
    router: Router, data: Sequence[str] | Outcomes, prices: Mapping[str, float] | None, needed: bool
) -> FloatArray | None:
    """Cost of each prompt's answer by the strong and the weak model, (n, 2): real, else the mean price; or None."""
    if isinstance(data, Outcomes) and data.cost_usd is not None and not np.isnan(data.cost_usd).any():
        return data.cost_usd
    pair = {model: request_price_usd(model, prices) for model in (router.strong, router.weak)}
    missing = [model for model, price in pair.items() if price is None]
    if not missing:
        return np.tile(np.array([pair[router.strong], pair[router.weak]], dtype=np.float64), (len(data), 1))
    if needed:
        raise ConfigError(
            f"No price is known for {missing[0]!r}. Give USD per request for it: --price {missing[0]}=USD, or `prices`."
        )
    return None


def _check_reach(real: Mapping[str, FloatArray], target: str, wanted: float) -> None:
    """Refuse a target that no place reaches on the prompts as they are."""
    level = real[target][0]
    if np.isnan(level).any():
        raise DataError("The strong model is not better than the weak one on these prompts: PGR has no meaning.")
    if target == "mean_cost_usd" and not (level <= wanted).any():
        raise DataError(
            f"A mean cost of {wanted:g} USD cannot be reached: the cheapest cut on these prompts costs "
            f"{level.min():g} USD a request. Ask for at least that."
        )


def _places(levels: Mapping[str, FloatArray], target: str, wanted: float) -> IndexArray:
    """Where to cut for the target on each resample, shape (b,)."""
    level = levels[target]
    last = level.shape[1] - 1
    if target == "pgr":  # the smallest share that reaches it; everything where there is no gap to recover
        reached = level >= wanted - _ROUNDING
        return np.asarray(np.where(reached.any(axis=1), np.argmax(reached, axis=1), last))
    within = level <= wanted * (1 + _ROUNDING)  # the largest share that stays within
    return np.asarray(np.where(within.any(axis=1), last - np.argmax(within[:, ::-1], axis=1), 0))


def _alpha(scores: FloatArray, place: int) -> float:
    """A threshold that cuts after `place` blocks: half way between two scores, so that rounding moves no block."""
    if place == len(scores):
        return 0.0
    if place == 0:
        if scores[0] >= 1:
            raise DataError(
                "The highest win rate is exactly 1, so no threshold in [0, 1] keeps it from the strong model. "
                "Ask for more, or use a router whose scores stay below 1."
            )
        return 1.0
    middle = float((scores[place - 1] + scores[place]) / 2)
    return middle if middle > scores[place] else float(scores[place - 1])


def _note(ladder: _Ladder, values: FloatArray, target: str, wanted: float, place: int) -> str:
    """One sentence if a block of equal scores stood across the target."""
    if place == len(ladder.scores) if target != "pgr" else place == 0:
        return ""
    block = place if target != "pgr" else place - 1  # the block that would have to be torn apart
    ends = [*ladder.starts.tolist(), ladder.n]
    size = ends[block + 1] - ends[block]
    if size == 1 or abs(values[place] - wanted) <= _ROUNDING:
        return ""
    other = place + 1 if target != "pgr" else place - 1
    return (
        f"{size:,} of {ladder.n:,} prompts share the score {ladder.scores[block]:.6g} and cannot be torn apart: "
        f"{target} is {values[place]:.6g}, wanted {wanted:g}; the next place would give {values[other]:.6g}."
    )
