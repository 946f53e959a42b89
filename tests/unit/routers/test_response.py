"""From gain and quality to a win rate."""

from __future__ import annotations

import numpy as np
import pytest

from prefroute.routers._response import fit_quality, fit_response, win_rate
from prefroute.routers._ridge import SparseRows


def hump(n=600, seed=0):
    """Views whose embedding tells how hard a row is; the strong model gains in the middle only."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, 2))
    hard = vectors[:, 0]
    strong, weak = (hard < 0.8).astype(float), (hard < -0.8).astype(float)
    nothing = SparseRows(np.arange(n), np.zeros(n, dtype=int), np.full(n, 1e-3), (n, 4))
    views = (nothing, vectors, rng.standard_normal((n, 3)) * 1e-3)
    return views, hard, (1 + strong - weak) / 2, (strong + weak) / 2


def score(response, views):
    gain, z = (
        sum(view @ coef for view, coef in zip(views, coefs, strict=True)) for coefs in (response.gain, response.quality)
    )
    return np.array([win_rate(*row, response.shape) for row in zip(gain, z, strict=True)])


def test_a_gain_that_is_largest_between_easy_and_hard_is_found():
    views, hard, win, quality = hump()
    folds, weight = np.arange(600) % 5, np.ones(600)

    response = fit_response(views, win, fit_quality(views, quality, weight, folds), weight, folds)

    rate = score(response, views)
    assert rate[np.abs(hard) < 0.3].mean() > rate[np.abs(hard) > 1.5].mean() + 0.2


def test_rows_without_a_quality_leave_no_hump():
    views, _, win, _ = hump()
    folds, weight = np.arange(600) % 5, np.ones(600)

    response = fit_response(views, win, fit_quality(views, np.full(600, np.nan), weight, folds), weight, folds)

    assert response.shape[2] == pytest.approx(0, abs=1e-9)
    assert not any(coef.any() for coef in response.quality)


def test_a_very_odd_prompt_does_not_run_up_the_square():
    shape = (4.0, 0.0, -0.1, 0.0)

    assert win_rate(0.0, 5.0, shape) == win_rate(0.0, 500.0, shape)
