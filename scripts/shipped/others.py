"""What the page and the card say of other models, and of other routers on the same rows.

The doors are `other_models` and `other_routers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from scripts.shipped.markdown import NONE, TITLES, figure, table

__all__ = ["other_models", "other_routers"]

_Found: TypeAlias = Mapping[str, Any]

_WAYS = ("as it is", "numbers", "outcomes", "one-sided", "own labels", "length")


def other_models(found: _Found) -> str:
    """Pairs and pools of models that played no part in training."""
    told = found["transfer"]
    parts = [
        "A prompt that is hard for one pair of models is usually hard for others. Whether the strong model gains on it "
        "depends on the pair. Below, "
        "pairs of models none of whose answers were labels, on the questions of the held-out halves: the win rate *as "
        "it is*; kind `abilities` on the router's difficulty, from *numbers* (each model's mean quality on "
        f"{told['n_outcomes']} prompts of the train half), from *outcomes* (on these prompts), or from *one-sided* "
        "ones (each prompt answered by one of the two, as a gateway would have it); and for comparison `linear`, "
        "trained on the pair's *own labels* on the whole train half. APGR; the second line of a cell is the range over "
        f"{told['n_draws']} draws of the prompts:"
    ]
    for pool in told["pools"]:
        rows = [
            [f"{pair['strong']} / {pair['weak']}", f"{pair['n']:,}", *(_drawn(pair, way) for way in _WAYS)]
            for pair in pool["named"]
        ]
        every = pool["all"]
        cells = [_spread(every[way]) if way in every else NONE for way in _WAYS]
        above = [f"{every[way]['above_half']:.0%}" if way in every else NONE for way in _WAYS]
        label = f"median of all {every['n_pairs']} pairs {told['least_gap']:g} apart (middle 80%)"
        rows += [[label, "", *cells], ["share of these above 0.5", "", *above]]
        parts.append(f"**{TITLES[pool['benchmark']]}**\n\n" + table([["pair", "n", *_WAYS], *rows]))
    parts.append(_many(told["many"], told))
    rows = [
        [f"{pair['strong']} / {pair['weak']}", str(pair["n"]), figure(pair["as it is"]), figure(pair["length"])]
        for pair in told["voted"]
    ]
    n_better = sum((pair["as it is"][1] or 0.0) > 0.5 for pair in told["voted"])
    parts.append(
        "**MT-Bench by human votes**, the win rate as it is. A question has few votes, and intervals are wide: "
        f"{n_better} of {len(rows)} pairs are shown to be routed better than by chance.\n\n"
        + table([["pair", "n", "as it is", "length"], *rows])
    )
    return "\n\n".join(parts)


def _many(many: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    rows = []
    for way, label in (("abilities", "`abilities` on this router"), ("knn", "`knn` on the same outcomes")):
        draws = many[f"{way} draws"]
        rows.append([label, f"{figure(many[way])}<br>{draws[0]:.3f} to {draws[1]:.3f}", figure(many[f"{way} all"])])
    rows += [[name, figure(many[name]), ""] for name in ("single models", "oracle")]
    head = ["", f"from {told['n_outcomes']} outcomes of each", f"from all {many['n_train']:,}"]
    return (
        f"**Among all {many['n_models']} models of RouterBench**, by quality and price: AIQ, the mean quality over the "
        f"range of costs, on {many['n']:,} held-out questions; *single models* mixes the models by a coin. The pair "
        "that the router was trained on is among the models.\n\n" + table([head, *rows])
    )


def other_routers(rivals: _Found) -> str:
    """Routers with a heavier embedder and torch, trained on the same rows."""
    routers = rivals["routers"]
    others = sorted(rivals["cpu_s"], key=lambda name: -routers[name]["mean"][0])
    rows = []
    for name in ("default", *others):
        figures = [f"{routers[name][benchmark][0]:.3f}" for benchmark in TITLES]
        minutes = f"{rivals['cpu_s'][name] / 60:.1f}" if name in others else ""
        apart = figure(routers[name]["shipped_minus"], signed=True) if name in others else ""
        rows.append([f"`{name}`", minutes, *figures, figure(routers[name]["mean"]), apart])
    head = ["router", "CPU minutes to train", *TITLES.values(), "mean of the five", "shipped minus it"]
    return (
        "What the small embedder costs: each kind trained once, with the settings that it comes with, on the same "
        f"{rivals['train_n']:,} rows with `{rivals['embedder']}`, and asked the same held-out questions. `linear` and "
        "`experts` are told the sources apart, the others get one table; `ensemble` and `mf` are trained with torch; "
        "`bert` was not trained on these rows. APGR; the mean counts each benchmark the same, "
        "and its intervals are over resamples of the questions, paired "
        "in the last column; no second training, so they leave out its luck. By hand: "
        "`python -m scripts.shipped.rivals` ([figures](shipped-router-rivals.json)).\n\n" + table([head, *rows])
    )


def _drawn(pair: Mapping[str, Any], way: str) -> str:
    """The figure of the first draw, and where there are more, their range."""
    draws = pair.get(f"{way} draws")
    return figure(pair[way]) if draws is None else f"{figure(pair[way])}<br>{draws[0]:.3f} to {draws[2]:.3f}"


def _spread(values: Mapping[str, float]) -> str:
    return f"{values['median']:.3f} ({values['p10']:.3f} to {values['p90']:.3f})"
