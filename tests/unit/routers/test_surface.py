"""Counts and shares of a prompt's surface."""

from __future__ import annotations

import numpy as np
import pytest

from prefroute.prompts import MAX_CHARS, pieces
from prefroute.routers._surface import SURFACE_FEATURES, surface


def column(name, prompt):
    return surface([prompt], [len(pieces(prompt))])[0, SURFACE_FEATURES.index(name)]


@pytest.mark.parametrize(
    ("name", "prompt", "value"),
    [
        ("log_chars", "abc", np.log(4)),
        ("log_pieces", "two words.", np.log(4)),  # with one added
        ("log_questions", "a? b? c", np.log(3)),
        ("log_breaks", "a\nb\nc", np.log(3)),
        ("digits_share", "a1b2", 2 / 5),  # of the bytes, with one added
        ("capitals_share", "ABcd", 2 / 5),
        ("math_share", "x^2=", 2 / 5),
        ("other_share", "é", 2 / 3),  # two bytes in UTF-8
        ("commas_per_piece", "a, b", 1 / 4),
        ("code", "def f(x):", 1.0),
        ("code", "plain words", 0.0),
        ("log_largest_number", "from 12 to 1,234.5 or 99", np.log1p(1234.5)),
        ("log_largest_number", "no number", 0.0),
        ("log_largest_number", "9" * 500, np.log1p(1e9)),
        ("log_numbers", "7 and 7 and 8", np.log(3)),
        ("decimals_share", "1.5 and 2", 1 / 3),
        ("decimals_share", "1.5 and 1.5, 1.2.3 and 4.", 2 / 5),  # 1.5, 1.2, 3 and 4: of four numbers, with one added
    ],
)
def test_surface_counts_what_its_name_says(name, prompt, value):
    assert column(name, prompt) == pytest.approx(value)


def test_length_is_that_of_the_whole_prompt_and_shares_are_of_its_ends():
    assert column("log_chars", "a" * 100_000) == pytest.approx(np.log1p(100_000))
    assert column("digits_share", "a" * MAX_CHARS + "1" * 10 + "a" * MAX_CHARS) == 0


@pytest.mark.parametrize("prompt", ["", "\ud800", "\0", "😀" * 5000, "ß", " " * 10_000, "٣", "1.2.3,,4"])
def test_odd_text_gives_finite_features(prompt):
    assert np.isfinite(surface([prompt], [len(pieces(prompt))])).all()
