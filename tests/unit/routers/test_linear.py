"""`linear`: what it learns, how it mixes views, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from prefroute.errors import CheckpointError, ConfigError
from prefroute.routers._sigmoid import logistic_link, sigmoid
from prefroute.routers._views import Heads, predict, training_views
from prefroute.routers.base import RouterState
from prefroute.routers.linear import Linear
from prefroute.testing import HashEmbedder
from prefroute.types import FloatArray, Mixture, Outcomes, Source

WORDS = ("red", "green", "blue", "white", "black", "grey")


def gains(n=200, seed=0, word="prove"):
    """Prompts of random words; the strong model wins where `word` stands, else the two tie."""
    rng = np.random.default_rng(seed)
    hard = rng.random(n) < 0.5
    prompts = [f"{' '.join(rng.choice(WORDS, 5))} {word if h else 'say'} {i}" for i, h in enumerate(hard)]
    quality = np.stack([np.ones(n), np.where(hard, 0.0, 1.0)], axis=1)
    return Outcomes(prompts, ("big", "small"), quality)


def test_a_word_that_decides_is_learned():
    router = Linear("big", "small", HashEmbedder()).fit(gains())

    easy, hard = router.win_rate(["blue say red", "blue prove red"])

    assert hard > 0.8
    assert easy < 0.65  # a tie counts half


def test_scores_are_calibrated_on_average():
    data = gains(400)
    fresh = gains(400, seed=1)

    rate = Linear("big", "small", HashEmbedder()).fit(data).win_rate(fresh.prompts)

    assert rate.mean() == pytest.approx((1 + fresh.gain("big", "small").mean()) / 2, abs=0.05)


def test_labels_without_a_pattern_give_scores_near_the_mean():
    rng = np.random.default_rng(5)
    data = gains(300)
    shuffled = Outcomes(data.prompts, data.models, data.quality[rng.permutation(300)])

    rate = Linear("big", "small", HashEmbedder()).fit(shuffled).win_rate(data.prompts)

    assert np.abs(rate - 0.75).max() < 0.1


def test_a_weight_of_a_source_moves_the_scores_towards_it():
    one, other = gains(100), gains(100, seed=1, word="say")  # in the second, the same word means the opposite
    opposite = Outcomes(other.prompts, ("big", "small"), 1 - other.quality[:, ::-1])
    light = Mixture((Source("a", one, "big", "small"), Source("b", opposite, "big", "small", weight=0.01)))
    heavy = Mixture((Source("a", one, "big", "small"), Source("b", opposite, "big", "small", weight=100.0)))
    prompt = ["blue prove red"]

    first = Linear("big", "small", HashEmbedder()).fit(light).win_rate(prompt)
    second = Linear("big", "small", HashEmbedder()).fit(heavy).win_rate(prompt)

    assert first[0] > second[0] + 0.1


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"ngrams": 0}, "`ngrams` must be a whole number from 1 to 5, got 0."),
        ({"bits": 30}, "`bits` must be a whole number from 8 to 24, got 30."),
        ({"folds": 1}, "`folds` must be a whole number from 2 to 100, got 1."),
        ({"folds": 2.5}, "`folds` must be a whole number from 2 to 100, got 2.5."),
    ],
)
def test_parameters_out_of_range_are_refused(params, message):
    with pytest.raises(ConfigError, match="^" + message.replace(".", r"\.") + "$"):
        Linear("big", "small", HashEmbedder(), **params).fit(gains(20))


def test_tensors_that_do_not_fit_together_are_refused():
    router = Linear("big", "small", HashEmbedder()).fit(gains(40))
    state = router.state()
    short = {**state.arrays, "landmarks": state.arrays["landmarks"][:-1]}

    with pytest.raises(CheckpointError, match="do not fit together"):
        Linear("big", "small", HashEmbedder()).restore(RouterState(short, state.meta))


def test_a_head_scores_what_its_views_add_up_to():
    data = gains(60)
    embedder = HashEmbedder()
    scaling, views = training_views(embedder, data.prompts, 2, 10, 0)
    rng = np.random.default_rng(1)
    coefs: tuple[FloatArray, ...] = tuple(rng.standard_normal(view.shape[1:]) for view in views)

    scores = Heads.of(scaling, [coefs, coefs], 2).score(embedder, data.prompts)

    wanted = predict(views, coefs)
    np.testing.assert_allclose(scores, np.stack([wanted, wanted], axis=1), atol=1e-4)  # n-grams are kept in float32


def test_logistic_link_finds_the_slope_that_made_the_labels():
    rng = np.random.default_rng(0)
    gain = rng.standard_normal(20_000)
    win = (rng.random(20_000) < sigmoid(2 * gain - 1)).astype(float)

    slope, intercept = logistic_link(gain, win, np.ones(20_000))

    assert slope == pytest.approx(2, abs=0.1)
    assert intercept == pytest.approx(-1, abs=0.1)


def test_logistic_link_never_turns_the_order_round():
    gain = np.array([1.0, 2.0, 3.0, 4.0])

    assert logistic_link(gain, np.array([1.0, 1.0, 0.0, 0.0]), np.ones(4))[0] == 0.0


def test_sigmoid_does_not_overflow():
    assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
