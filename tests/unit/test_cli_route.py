"""What `route` asks of a router: one reading of each batch."""

import numpy as np

from prefroute.cli.route import _scored
from prefroute.routers import Router
from prefroute.routers.base import NoveltyRouter, RouterState
from prefroute.routers.length import Length
from prefroute.testing import tiny_battles


class Once(NoveltyRouter):
    """Counts its readings; half known, half not telling."""

    kind = "once"
    strong, weak = "big", "small"
    tells_novelty = True
    n_read = 0

    def fit(self, data):
        return self

    def win_rate(self, prompts):
        raise AssertionError("a second reading")

    def novelty(self, prompts):
        raise AssertionError("a second reading")

    def scored(self, prompts):
        self.n_read += 1
        return np.array([0.25, 0.75]), np.array([0.9, np.nan])

    def state(self):
        return RouterState()

    def restore(self, state):
        return self


def test_a_batch_is_read_once_for_win_rate_and_novelty():
    router = Once()

    win_rates, novelty = _scored(router, ["a", "b"])

    assert router.n_read == 1
    assert win_rates.tolist() == [0.25, 0.75]
    assert novelty == [0.9, None]


def test_a_router_that_knows_no_novelty_is_asked_for_win_rates_alone():
    router: Router = Length("big", "small").fit(tiny_battles())

    win_rates, novelty = _scored(router, ["a", "b"])

    assert win_rates.shape == (2,)
    assert novelty == [None, None]
