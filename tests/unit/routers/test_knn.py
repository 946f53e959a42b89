from __future__ import annotations

import numpy as np
import pytest

from prefroute.errors import CheckpointError, ConfigError, DataError
from prefroute.routers import RouterState
from prefroute.routers.knn import KNN
from prefroute.testing import HashEmbedder, tiny_battles, tiny_outcomes
from prefroute.types import Battles, Outcomes


class Plane:
    """Prompts are angles in degrees; vectors lie on the unit circle."""

    id = spec = "plane"
    dim = 2
    trained_on: frozenset[str] = frozenset()

    def encode(self, prompts):
        angle = np.radians([float(prompt) for prompt in prompts])
        return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def square(labels: list[float]) -> Battles:
    """Four battles at the corners of a square, whose centre is the origin."""
    return Battles.of(["0", "90", "180", "270"], ["big"] * 4, ["small"] * 4, labels)


def test_score_is_the_weighted_mean_drawn_to_the_overall_mean():
    router = KNN("big", "small", Plane(), k=2, prior=0.5).fit(square([1.0, 0.0, 0.0, 0.0]))

    score = router.win_rate(["30"])[0]

    # cosines of 30 degrees with the corners: cos 30, cos 60, -cos 30, -cos 60; the third nearest is 270 (-0.5)
    w0, w90 = np.cos(np.radians(30)) + 0.5, 0.5 + 0.5
    assert score == pytest.approx((w0 * 1 + w90 * 0 + 0.5 * 0.25) / (w0 + w90 + 0.5))


def test_k_larger_than_the_data_leaves_out_the_farthest_prompt_only():
    data = square([1.0, 0.0, 0.0, 0.0])
    many, three = (KNN("big", "small", Plane(), k=k).fit(data).win_rate(["10"]) for k in (500, 3))

    assert many == three


def test_score_does_not_jump_where_two_prompts_at_the_edge_change_places():
    router = KNN("big", "small", Plane(), k=1).fit(square([1.0, 0.0, 0.0, 1.0]))

    before, after = router.win_rate(["44.999", "45.001"])  # the nearest corner changes at 45 degrees

    assert abs(before - after) < 1e-3


def test_prompt_in_the_centre_of_the_data_gets_the_mean():
    class Centre(Plane):
        def encode(self, prompts):
            return np.zeros((len(prompts), 2), dtype=np.float32)

    router = KNN("big", "small", Plane()).fit(square([1.0, 0.0, 0.0, 0.0]))
    router.embedder = Centre()

    assert router.win_rate(["anywhere"])[0] == pytest.approx(0.25)


def test_equal_prompts_become_one_with_all_their_labels():
    data = Battles.of(["0", "0", "90"], ["big"] * 3, ["small"] * 3, [1.0, 0.0, 0.0])

    router = KNN("big", "small", Plane()).fit(data)

    assert router.sums_[:, 0].tolist() == [1.0, 0.0]
    assert router.counts_[:, 0].tolist() == [2.0, 1.0]


def test_predict_gives_a_column_for_each_observed_model():
    quality = np.array([[1.0, 0.0, np.nan], [0.0, 1.0, np.nan], [1.0, 1.0, np.nan]])
    data = Outcomes(["0", "90", "180"], ("big", "small", "never"), quality)

    router = KNN("big", "small", Plane()).fit(data)

    assert router.models == ("big", "small")
    assert router.predict(["0"]).shape == (1, 2)


def test_win_rate_ignores_prompts_that_do_not_compare_the_pair():
    seen = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    half_seen = np.vstack([seen, [[1.0, np.nan]]])
    all_rows = KNN("big", "small", Plane()).fit(Outcomes(["0", "90", "180", "270"], ("big", "small"), half_seen))
    weights = all_rows._incomparable

    assert weights.tolist() == [3]
    assert np.isfinite(all_rows.win_rate(["265"])).all()


def test_predict_after_battles_says_that_they_hold_no_quality():
    router = KNN("big", "small", HashEmbedder()).fit(tiny_battles())

    with pytest.raises(DataError, match="fitted on battles, which hold no quality"):
        router.predict(["hi"])


@pytest.mark.parametrize(("name", "value"), [("k", 0), ("k", 2.5), ("prior", 0.0), ("prior", float("nan"))])
def test_parameter_out_of_range_is_refused_by_fit(name, value):
    with pytest.raises(ConfigError, match=f"`{name}` must be"):
        KNN("big", "small", HashEmbedder(), **{name: value}).fit(tiny_battles())


def test_embedder_that_gives_nan_is_refused():
    class Broken(HashEmbedder):
        def encode(self, prompts):
            return np.full((len(prompts), self.dim), np.nan, dtype=np.float32)

    with pytest.raises(DataError, match="embedding of prompt 0 holds NaN"):
        KNN("big", "small", Broken()).fit(tiny_battles())


def test_embedder_of_another_shape_is_refused():
    class Broken(HashEmbedder):
        def encode(self, prompts):
            return np.ones((len(prompts) + 1, self.dim), dtype=np.float32)

    with pytest.raises(DataError, match="must give shape"):
        KNN("big", "small", Broken()).fit(tiny_battles())


def test_sums_above_their_counts_are_refused():
    state = KNN("big", "small", HashEmbedder()).fit(tiny_outcomes()).state()
    broken = RouterState({**state.arrays, "sums": state.arrays["sums"] + 2}, state.meta)

    with pytest.raises(CheckpointError, match="do not fit together"):
        KNN("big", "small", HashEmbedder()).restore(broken)


def test_array_of_another_dtype_is_refused():
    state = KNN("big", "small", HashEmbedder()).fit(tiny_outcomes()).state()
    broken = RouterState({**state.arrays, "centre": state.arrays["centre"].astype(np.float64)}, state.meta)

    with pytest.raises(CheckpointError, match="'centre' must be float32"):
        KNN("big", "small", HashEmbedder()).restore(broken)
