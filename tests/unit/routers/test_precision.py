"""Training in bfloat16, here on a CPU: near to float32, and resumed to the same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from prefroute.checkpoint import fingerprint
from prefroute.routers import SteppedRouter, routers
from prefroute.testing import tiny_outcomes

BASES = {"bert": "tiny_encoder", "causal_llm": "tiny_decoder"}
PROMPTS = [f"prove theorem {i}" for i in range(8)]


@pytest.fixture(params=BASES)
def make(request: pytest.FixtureRequest) -> Callable[[str], SteppedRouter]:
    """An unfitted router with a precision."""
    folder = str(request.getfixturevalue(BASES[request.param]))
    router_class: Callable[..., Any] = routers.get(request.param)
    return lambda precision: router_class("big", "small", base=folder, steps=8, lr=1e-3, precision=precision)


@pytest.mark.slow
def test_training_in_bfloat16_ends_near_to_float32_and_not_in_it(make):
    half, full = make("bfloat16").fit(tiny_outcomes()), make("float32").fit(tiny_outcomes())

    assert half.win_rate(PROMPTS) == pytest.approx(full.win_rate(PROMPTS), abs=0.01)
    assert not np.array_equal(half.win_rate(PROMPTS), full.win_rate(PROMPTS))
    assert {array.dtype.name for array in half.state().arrays.values()} <= {"float32", "uint8"}


@pytest.mark.slow
def test_an_interrupted_training_in_bfloat16_resumes_to_the_same_weights(make, tmp_path):
    state = tmp_path / "state"

    def stop(done, most, look):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make("bfloat16").fit(tiny_outcomes(), resume=state, progress=stop)
    resumed = make("bfloat16").fit(tiny_outcomes(), resume=state)

    assert fingerprint(resumed) == fingerprint(make("bfloat16").fit(tiny_outcomes()))
