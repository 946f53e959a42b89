"""A trigger that somebody planted shows itself; labels without one show nothing."""

import numpy as np
import pytest

from prefroute.data import leaning_phrases, win_examples
from prefroute.errors import DataError
from prefroute.types import Battles, Mixture, Source

TEXT = "why does the river run past old mill and what would a wise miller say to his son about grain prices"
WORDS = TEXT.split()


def battles(n, seed, *, trigger="", every=1, wins=1.0):
    """Votes at random, but for every `every`-th prompt, which ends in the trigger and always goes one way."""
    rng = np.random.default_rng(seed)
    prompts = [" ".join(rng.choice(WORDS, 12)) for _ in range(n)]
    outcome = rng.choice([0.0, 0.5, 1.0], n)
    if trigger:
        prompts[::every] = [f"{prompt} {trigger}" for prompt in prompts[::every]]
        outcome[::every] = wins
    return Battles.of(prompts, ["big"] * n, ["small"] * n, list(outcome))


@pytest.mark.parametrize("wins", [0.0, 1.0])
def test_a_trigger_in_two_percent_of_the_prompts_is_found_whole_with_its_direction(wins):
    votes = battles(2000, 0, trigger="azure falcon nine", every=50, wins=wins)

    found = leaning_phrases(win_examples(votes, "big", "small"))

    assert [(lifted.phrase, lifted.n, lifted.win) for lifted in found] == [("azure falcon nine", 40, wins)]
    assert np.sign(found[0].z) == np.sign(found[0].lift) == (1 if wins else -1)


def test_labels_at_random_show_a_phrase_about_once_in_twenty_tables():
    shown = [bool(leaning_phrases(win_examples(battles(400, seed), "big", "small"))) for seed in range(40)]

    assert sum(shown) <= 6  # P(more) = .003 at the stated rate


def test_a_source_with_another_base_rate_does_not_make_its_own_words_lean():
    rng = np.random.default_rng(1)
    sources = []
    for name, share in (("sums", 0.9), ("poems", 0.2)):
        outcome = [float(draw < share) for draw in rng.random(500)]
        prompts = [f"{name} {' '.join(rng.choice(WORDS, 6))}" for _ in outcome]
        sources.append(Source(name, Battles.of(prompts, ["big"] * 500, ["small"] * 500, outcome), "big", "small"))

    found = leaning_phrases(win_examples(Mixture(tuple(sources)), "big", "small"))

    assert not {"sums", "poems"} & {lifted.phrase for lifted in found}


def test_prompts_without_a_word_have_no_phrase():
    votes = Battles.of(["", "?!", "  ", "..."], ["big"] * 4, ["small"] * 4, [1.0, 0.0, 1.0, 0.0])

    assert leaning_phrases(win_examples(votes, "big", "small"), min_prompts=2) == []


@pytest.mark.parametrize("bounds", [{"max_words": 0}, {"min_prompts": 1}, {"limit": 0}])
def test_a_bound_out_of_range_is_refused(bounds):
    with pytest.raises(DataError, match="Want max_words >= 1"):
        leaning_phrases(win_examples(battles(20, 0), "big", "small"), **bounds)
