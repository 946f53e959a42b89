"""Whether difficulty carries over to models that played no part in the shipped router's training labels.

The door is `transfer`. The router learned from the answers of the pairs in its model card. Here it is asked about
pairs of the other models of MMLU-Pro and RouterBench, on the questions of the held-out halves, in five ways:

- `as it is`: its win rate, made for another pair;
- `numbers`: the kind `abilities` on its difficulty, from nothing but each model's mean quality on 300 prompts;
- `outcomes`: the same from the outcomes on these prompts, which are of the train half;
- `one-sided`: the same from half as many, as a journal holds them: the router as it is, cut at its median, said which
  of the two models answered a prompt, and the other's answer is not known;
- `own labels`: `linear` with five inner folds, trained on the outcomes of the pair itself on the whole train half, as a
  yardstick.

Prompts are drawn five times; intervals are those of the first draw. The router itself was trained on them, and is surer
of them than of new prompts: slopes come out some 15% too steep, which moves no median by more than .03. Pairs with a
table row of their own were chosen by family and size before any of their figures was seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from scripts.shipped.held_out import rounded

from prefroute.benchmarks import load_benchmark
from prefroute.checkpoint import Checkpoint
from prefroute.curve import Curve
from prefroute.data import PromptKeys, contamination
from prefroute.evaluate import Fitted, evaluate
from prefroute.evaluate.pool import SINGLES
from prefroute.metrics import apgr
from prefroute.routers import Router
from prefroute.routers.abilities import Abilities
from prefroute.routers.experts import Experts
from prefroute.routers.knn import KNN
from prefroute.routers.linear import Linear
from prefroute.types import FloatArray, Outcomes

__all__ = ["PAIRS", "TAUGHT", "VOTED", "many", "transfer", "voted"]

TAUGHT = {
    "mmlu-pro": (
        "gpt-4o-2024-05-13",
        "Mixtral-8x7B-Instruct-v0.1",
        "Mixtral-8x7B-v0.1",  # their bases count as they do
        "Meta-Llama-3-8B-Instruct",
        "Meta-Llama-3-8B",
    ),
    "routerbench": ("gpt-4-1106-preview", "mistralai/mixtral-8x7b-chat"),
}
"""Models of the benchmark whose answers, or whose base's, were training labels."""

PAIRS = {
    "mmlu-pro": (
        ("gemini-1.5-pro-002", "gemini-1.5-flash-002"),
        ("Meta-Llama-3.1-70B-Instruct", "Meta-Llama-3.1-8B-Instruct"),
        ("Qwen1.5-72B-Chat", "Qwen1.5-7B-Chat"),
        ("Llama-2-70b-hf", "Llama-2-7b-hf"),
        ("gemini-3.1-pro-preview", "Meta-Llama-3.1-8B-Instruct"),
        ("gemini-1.5-pro-002", "Mistral-7B-Instruct-v0.2"),
    ),
    "routerbench": (
        ("zero-one-ai/Yi-34B-Chat", "mistralai/mistral-7b-chat"),
        ("gpt-3.5-turbo-1106", "mistralai/mistral-7b-chat"),
        ("gpt-3.5-turbo-1106", "meta/llama-2-70b-chat"),
        ("claude-v1", "WizardLM/WizardLM-13B-V1.2"),
    ),
}

VOTED = tuple(("gpt-4", weak) for weak in ("claude-v1", "gpt-3.5-turbo", "vicuna-13b-v1.2", "alpaca-13b", "llama-13b"))
"""Pairs of the human votes on MT-Bench."""

_N_OUTCOMES = 300
_N_DRAWS = 5
_GAP = 0.1  # of mean quality, for a pair to be looked at
_OBSERVED = 0.99  # share of the questions that a model must have answered


@dataclass(frozen=True, eq=False)
class _Pool:
    """A benchmark's other models.

    Attributes:
        name: Of the benchmark.
        ruler: The shipped router.
        training: What it was trained on.
        train: Outcomes of the models on the train half.
        held_out: On the other half.
        draws: Outcomes on the prompts of each draw.
    """

    name: str
    ruler: Experts
    training: PromptKeys
    train: Outcomes
    held_out: Outcomes
    draws: Sequence[Outcomes]

    @classmethod
    def of(cls, checkpoint: Checkpoint, name: str, data: Path) -> _Pool:
        ruler, training = checkpoint.router, checkpoint.training
        assert isinstance(ruler, Experts)
        assert training is not None
        table = load_benchmark(name, data).outcomes
        observed = 1 - np.isnan(table.quality).mean(axis=0)
        taught = TAUGHT[name]
        table = table.select(
            [m for m, share in zip(table.models, observed, strict=True) if m not in taught and share >= _OBSERVED]
        )
        is_seen = contamination(table.prompts, training).any
        train = table.take(is_seen)
        draws = [_drawn(train, seed) for seed in range(_N_DRAWS)]
        return cls(name, ruler, training, train, table.take(~is_seen), draws)

    def learned(self, table: Outcomes, strong: str = "", weak: str = "") -> Abilities:
        """From outcomes; for a pair, or as a pool whose models stand in the table's order."""
        return Abilities.on(self.ruler, table, strong or table.models[0], weak or table.models[1])[0]

    def rated(self, strong: str = "", weak: str = "") -> Abilities:
        """From the mean qualities on the first draw, likewise."""
        table = self.draws[0]
        means = dict(zip(table.models, np.nanmean(table.quality, axis=0).tolist(), strict=True))
        return Abilities.rated(self.ruler, means, table.prompts, strong or table.models[0], weak or table.models[1])


def transfer(checkpoint: Checkpoint, data: Path) -> dict[str, Any]:
    """Every figure, JSON values."""
    pools = [_Pool.of(checkpoint, name, data) for name in TAUGHT]
    return {
        "n_outcomes": _N_OUTCOMES,
        "n_draws": _N_DRAWS,
        "least_gap": _GAP,
        "pools": [
            {
                "benchmark": pool.name,
                "models": list(pool.train.models),
                "named": [_named(pool, data, *pair) for pair in PAIRS[pool.name]],
                "all": _all_pairs(pool),
            }
            for pool in pools
        ],
        "many": many(checkpoint, data),
        "voted": [voted(checkpoint, data, *pair) for pair in VOTED],
    }


def many(checkpoint: Checkpoint, data: Path) -> dict[str, Any]:
    """AIQ of choosing among all models of RouterBench by quality and price, from 300 outcomes of each and from all."""
    ruler, training = checkpoint.router, checkpoint.training
    assert isinstance(ruler, Experts)
    assert training is not None
    benchmark = load_benchmark("routerbench", data)
    pair = (benchmark.strong, benchmark.weak)
    train = benchmark.outcomes.take(contamination(benchmark.outcomes.prompts, training).any)
    routers: dict[str, Router] = {}
    for name, table in {**{str(seed): _drawn(train, seed) for seed in range(_N_DRAWS)}, "all": train}.items():
        routers[f"abilities {name}"] = Abilities.on(ruler, table, *pair)[0]
        routers[f"knn {name}"] = KNN(*pair, ruler.embedder).fit(table)
    report = evaluate([Fitted(way, router, training) for way, router in routers.items()], benchmark)
    rows = {row["router"]: [rounded(row[f"aiq{end}"]) for end in ("", "_low", "_high")] for row in report.rows}
    found: dict[str, Any] = {"n": report.rows[0]["n"], "n_models": len(train.models), "n_train": len(train)}
    for way in ("abilities", "knn"):
        draws = [rows[f"{way} {seed}"][0] for seed in range(_N_DRAWS)]
        found |= {way: rows[f"{way} 0"], f"{way} draws": [min(draws), max(draws)], f"{way} all": rows[f"{way} all"]}
    return found | {"single models": rows[SINGLES], "oracle": rows["oracle"]}


def _drawn(table: Outcomes, seed: int) -> Outcomes:
    rows = np.random.default_rng(seed).choice(len(table), _N_OUTCOMES, replace=False)
    return table.take(np.sort(rows))


def voted(checkpoint: Checkpoint, data: Path, strong: str, weak: str) -> dict[str, Any]:
    """The router as it is on human votes."""
    benchmark = load_benchmark("mt-bench-human", data, strong=strong, weak=weak)
    report = evaluate([Fitted("as it is", checkpoint.router, checkpoint.training)], benchmark)
    rows = {row["router"]: row for row in report.rows}
    found = {"strong": strong, "weak": weak, "n": rows["length"]["n"]}
    return found | {way: _interval_of(rows[way]) for way in ("as it is", "length")}


def _named(pool: _Pool, data: Path, strong: str, weak: str) -> dict[str, Any]:
    """One pair with intervals, and with the range over the draws."""
    pair = (strong, weak)
    sides = [pool.learned(_one_sided(pool.ruler, draw.select(pair)), *pair) for draw in pool.draws]
    routers = {
        "as it is": pool.ruler,
        "numbers": pool.rated(*pair),
        "outcomes": pool.learned(pool.draws[0], *pair),
        "one-sided": sides[0],
        "own labels": Linear(*pair, pool.ruler.embedder, folds=5).fit(_both(pool.train, pair)),
    }
    entrants = [Fitted(way, router, pool.training) for way, router in routers.items()]
    report = evaluate(entrants, load_benchmark(pool.name, data, strong=strong, weak=weak))
    rows = {row["router"]: row for row in report.rows}
    found: dict[str, Any] = {"strong": strong, "weak": weak}
    found |= {key: rounded(rows["length"][key]) for key in ("n", "strong_quality", "weak_quality")}
    found |= {way: _interval_of(rows[way]) for way in (*routers, "length")}
    whole = [pool.learned(draw.select(pair), *pair) for draw in pool.draws]
    return found | {"outcomes draws": _range(pool, whole), "one-sided draws": _range(pool, sides)}


def _one_sided(ruler: Experts, table: Outcomes) -> Outcomes:
    """The outcomes of a pair as a gateway that cuts at the median would see them."""
    win_rate = ruler.win_rate(table.prompts)
    is_strong = win_rate >= np.median(win_rate)
    quality = np.where(np.column_stack([is_strong, ~is_strong]), table.quality, np.nan)
    return Outcomes(table.prompts, table.models, quality)


def _both(table: Outcomes, pair: tuple[str, str]) -> Outcomes:
    """The rows that hold both models, and these two alone."""
    table = table.select(pair)
    return table.take(np.flatnonzero(~np.isnan(table.quality).any(axis=1)))


def _range(pool: _Pool, routers: Sequence[Abilities]) -> list[float]:
    """Least, mean and greatest APGR on the held-out half."""
    table = _both(pool.held_out, (routers[0].strong, routers[0].weak))
    found = [_apgr(router.win_rate(table.prompts), table.quality) for router in routers]
    return [rounded(value) for value in (min(found), sum(found) / len(found), max(found))]


def _all_pairs(pool: _Pool) -> dict[str, Any]:
    """APGR of every pair with a gap; quantiles over pairs, which share models and are not independent."""
    prompts, quality = pool.held_out.prompts, pool.held_out.quality
    predicted = {
        "numbers": [pool.rated().predict(prompts)],
        "outcomes": [pool.learned(draw).predict(prompts) for draw in pool.draws],
    }
    win_rate = pool.ruler.win_rate(prompts)
    found: dict[str, list[float]] = {way: [] for way in ("as it is", *predicted)}
    for strong, weak in _pairs(quality):
        rows = np.flatnonzero(~np.isnan(quality[:, [strong, weak]]).any(axis=1))
        answers = quality[rows][:, [strong, weak]]
        found["as it is"].append(_apgr(win_rate[rows], answers))
        for way, tables in predicted.items():
            found[way] += [_apgr(table[rows, strong] - table[rows, weak], answers) for table in tables]
    return {"n_pairs": len(found["as it is"])} | {way: _summary(np.array(values)) for way, values in found.items()}


def _pairs(quality: FloatArray) -> Iterator[tuple[int, int]]:
    mean = np.nanmean(quality, axis=0)
    for strong, weak in permutations(range(quality.shape[1]), 2):
        if mean[strong] - mean[weak] >= _GAP:
            yield strong, weak


def _apgr(score: FloatArray, quality: FloatArray) -> float:
    strong, weak = quality[:, 0], quality[:, 1]
    return apgr(Curve.from_scores(score, strong, weak), float(weak.mean()), float(strong.mean()))


def _summary(values: FloatArray) -> dict[str, float]:
    low, middle, high = (rounded(float(value)) for value in np.quantile(values, [0.1, 0.5, 0.9]))
    return {"p10": low, "median": middle, "p90": high, "above_half": rounded(float((values > 0.5).mean()))}


def _interval_of(row: Mapping[str, Any]) -> list[float | None]:
    return [rounded(row[f"apgr{end}"]) for end in ("", "_low", "_high")]
