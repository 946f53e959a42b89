"""What each source adds: tables in which the answer is known."""

import numpy as np
import pytest

from prefroute.errors import ConfigError
from prefroute.evaluate import effects_table, leave_one_out
from prefroute.routers import Router, RouterState
from prefroute.types import Mixture, Outcomes, Source

PAIR = ("big", "small")


class Keyword(Router):
    """Knows the hard words of the sources that it was trained on; every other prompt scores alike."""

    kind = "keyword"
    learns_from = (Mixture,)
    strong, weak = PAIR

    def fit(self, data):
        self.known_ = {source.name for source in data.sources}
        return self

    def win_rate(self, prompts):
        return np.array([0.9 if any(f"{name} hard" in prompt for name in self.known_) else 0.1 for prompt in prompts])

    def state(self):
        return RouterState()

    def restore(self, state):
        return self


def source(name, n=100):
    """Prompts of which every second is hard, and only on those the strong model is better."""
    hard = np.arange(n) % 2 == 1
    prompts = [f"{name} {'hard' if h else 'easy'} question number {i} of {name}" for i, h in enumerate(hard)]
    return Source(name, Outcomes(prompts, PAIR, np.column_stack([np.ones(n), ~hard])), *PAIR)


def effects(*names, **options):
    found = leave_one_out(Keyword, Mixture(tuple(source(name) for name in names)), n_boot=200, **options)
    return {(row["scored_on"], row["left_out"]): row for row in found.rows}


def test_a_source_adds_what_only_it_can_teach():
    rows = effects("red", "blue")

    # every held-out question is told apart: 1 - (share of hard) / 2; without its source, nothing is: random
    hard = rows["red", None]["apgr"]
    assert hard > 0.65
    assert rows["red", "red"]["apgr"] == pytest.approx(0.5)
    assert rows["red", "red"]["adds"] == pytest.approx(hard - 0.5)
    assert rows["red", "red"]["adds_low"] > 0


def test_a_source_adds_nothing_to_questions_of_another():
    rows = effects("red", "blue")

    assert rows["red", "blue"]["adds"] == 0
    assert rows["red", "blue"]["n"] == rows["red", None]["n"] == rows["red", "red"]["n"]


def test_no_router_is_scored_on_a_prompt_that_it_was_trained_on():
    rows = effects("red", "blue")

    for name in ("red", "blue"):
        held_out = rows[name, None]["n"]
        assert 0 < held_out < 50
    assert rows["red", None]["n"] + rows["blue", None]["n"] + rows["red", None]["train_n"] == 200
    assert rows["red", "blue"]["train_n"] == 100 - rows["red", None]["n"]


def test_questions_on_which_strong_is_not_better_are_said_to_be_unmeasured():
    flat = Source("flat", Outcomes([f"flat {i}" for i in range(50)], PAIR, np.tile([[0.0, 1.0]], (50, 1))), *PAIR)

    found = leave_one_out(Keyword, Mixture((source("red"), flat)), n_boot=200)

    row = next(row for row in found.rows if row["scored_on"] == "flat")
    assert row["apgr"] is None
    assert "nothing can be learned from labels" in row["note"]
    assert effects_table(found)[2][:3] == ["flat", "0", "\N{EN DASH}"]


def test_one_source_is_refused():
    with pytest.raises(ConfigError, match="needs at least two, got one"):
        effects("red")
