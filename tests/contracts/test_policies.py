"""What every policy must do, one suite over all of them."""

import json

import numpy as np
import pytest

from prefroute.policy import CostQuality, Threshold, policy_from_dict

POLICIES = [Threshold(0.0), Threshold(0.37), Threshold(1.0), CostQuality(0.0), CostQuality(12.5)]


def choose(policy, quality):
    """The column that the policy chooses of two models, strong first; quality (n, 2)."""
    if isinstance(policy, Threshold):
        return (~policy.choose((1 + quality[:, 0] - quality[:, 1]) / 2)).astype(int)
    return policy.choose(quality, np.array([0.01, 0.001]))


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
class TestPolicies:
    def test_json_gives_an_equal_policy_back(self, policy):
        stored = json.loads(json.dumps(policy.to_dict(), allow_nan=False))

        assert policy_from_dict(stored) == policy
        assert type(policy).from_dict(stored) == policy

    def test_every_decision_is_certain(self, policy):
        assert policy.propensity == 1.0

    def test_the_same_scores_give_the_same_choice(self, policy):
        quality = np.random.default_rng(0).random((50, 2))

        assert (choose(policy, quality) == choose(policy, quality)).all()

    def test_a_prompt_is_decided_alone(self, policy):
        quality = np.random.default_rng(1).random((20, 2))

        together = choose(policy, quality)

        assert together.tolist() == [int(choose(policy, row[None])[0]) for row in quality]

    def test_scores_are_left_untouched(self, policy):
        quality = np.random.default_rng(2).random((10, 2))
        before = quality.copy()

        choose(policy, quality)

        assert (quality == before).all()

    def test_no_prompts_give_no_choices(self, policy):
        assert choose(policy, np.empty((0, 2))).shape == (0,)

    def test_it_cannot_be_changed(self, policy):
        name = "alpha" if isinstance(policy, Threshold) else "usd_weight"
        with pytest.raises(AttributeError):
            setattr(policy, name, 0.5)
