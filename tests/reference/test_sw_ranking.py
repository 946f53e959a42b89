"""Ratings against RouteLLM's way: a logistic regression over every battle twice, for each query.

The design matrix is that of `compute_elo_mle_with_tie` in RouteLLM 0.2.0 (similarity_weighted/utils.py): a tie is one
win for each side, +log(10) for the first contestant is overwritten by -log(10) for the second where both are of one
tier, no penalty, Elo = 400 * coefficient + 1000. benchmarks/sw_ranking.py compares with the package itself.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import minimize

from prefroute.routers.sw_ranking import SWRanking
from prefroute.testing import HashEmbedder
from prefroute.types import Battles

QUERIES = ["red green", "blue", "stone river cloud"]


def arena(n: int = 1500, n_models: int = 12) -> Battles:
    rng = np.random.default_rng(3)
    words = np.array(["red", "green", "blue", "stone", "river", "cloud", "seven", "nine"])
    prompts = [" ".join(words[rng.integers(8, size=4)]) for _ in range(n)]
    a = rng.integers(n_models, size=n)
    b = (a + rng.integers(1, n_models, size=n)) % n_models
    skill = np.linspace(1.5, -1.5, n_models)
    outcome = np.where(rng.random(n) < 0.25, 0.5, rng.random(n) < 1 / (1 + np.exp(skill[b] - skill[a])))
    return Battles(
        prompts, tuple(f"m{i:02d}" for i in range(n_models)), a.astype(np.int32), b.astype(np.int32), outcome
    )


def routellm_elo(tier_a, tier_b, outcome, weight, n_tiers: int) -> npt.NDArray[np.float64]:
    n = len(outcome)
    design = np.zeros((2 * n, n_tiers))
    rows = np.arange(2 * n)
    design[rows, np.tile(tier_a, 2)] = math.log(10)
    design[rows, np.tile(tier_b, 2)] = -math.log(10)
    won = np.concatenate([outcome >= 0.5, outcome == 1.0])  # a tie: won in the first copy, lost in the second
    weights = np.tile(weight, 2)

    def loss(coefficient):
        z = np.where(won, 1, -1) * (design @ coefficient)
        slope = -np.where(won, 1, -1) * weights / (1 + np.exp(z))
        return weights @ np.logaddexp(0, -z), design.T @ slope

    found = minimize(loss, np.zeros(n_tiers), jac=True, method="L-BFGS-B", options={"gtol": 1e-6, "ftol": 1e-15})
    return np.asarray(400 * found.x + 1000)


@pytest.mark.parametrize("n_tiers", [4, 0])
def test_elo_equals_the_logistic_regression_over_all_battles(n_tiers):
    battles, embedder = arena(), HashEmbedder()
    router = SWRanking("m01", "m10", embedder, n_tiers=n_tiers).fit(battles)
    unit = {
        text: vector
        for texts in (battles.prompts, QUERIES)
        for text, vector in zip(texts, embedder.encode(texts), strict=True)
    }
    unit = {text: vector / np.linalg.norm(vector) for text, vector in unit.items()}
    stored = np.stack([unit[prompt] for prompt in battles.prompts])
    tier_a, tier_b = router.tier_[battles.model_a], router.tier_[battles.model_b]

    for query, ours in zip(QUERIES, router.elo(QUERIES), strict=True):
        similarity = stored @ unit[query]
        weight = 10 * 10 ** (similarity / similarity.max())
        theirs = routellm_elo(tier_a, tier_b, battles.outcome, weight, len(ours))

        assert np.abs(ours - theirs).max() < 0.05  # the wanted bound is 0.5
