"""Hashed n-grams and surface counts."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from prefroute.routers._text import MAX_CHARS, SURFACE_FEATURES, ngram_ids, ngram_rows, surface


def column(name, prompt):
    return surface([prompt])[0, SURFACE_FEATURES.index(name)]


def test_each_bucket_stands_once_and_in_order():
    ids = ngram_ids("the cat and the dog and the bird", 2, 16)

    # 5 words, and the pairs "the cat", "cat and", "and the" (twice), "the dog", "dog and", "the bird"
    assert len(ids) == 5 + 6
    assert (np.diff(ids) > 0).all()


def test_case_does_not_matter_and_order_of_words_does():
    assert ngram_ids("Big Dog", 2, 16).tolist() == ngram_ids("big dog", 2, 16).tolist()
    assert ngram_ids("dog big", 2, 16).tolist() != ngram_ids("big dog", 2, 16).tolist()
    assert ngram_ids("dog big", 1, 16).tolist() == ngram_ids("big dog", 1, 16).tolist()


def test_buckets_are_the_same_in_another_process():
    script = (
        "from prefroute.routers._text import ngram_ids; print(ngram_ids('Prove that 17 is prime.', 2, 16).tolist())"
    )

    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert other.strip() == str(ngram_ids("Prove that 17 is prime.", 2, 16).tolist())


def test_rows_hold_the_ids_of_their_prompts():
    prompts = ["one two", "", "three"]

    rows = ngram_rows(prompts, 2, 10)

    assert rows.shape == (3, 1024)
    for i, prompt in enumerate(prompts):
        assert rows.column[rows.row == i].tolist() == ngram_ids(prompt, 2, 10).tolist()


@pytest.mark.parametrize(
    ("name", "prompt", "value"),
    [
        ("log_chars", "abc", np.log(4)),
        ("log_words", "two words", np.log(3)),
        ("log_questions", "a? b? c", np.log(3)),
        ("log_breaks", "a\nb\nc", np.log(3)),
        ("digits_share", "a1b2", 2 / 5),  # of the bytes, with one added
        ("capitals_share", "ABcd", 2 / 5),
        ("other_share", "é", 2 / 3),  # two bytes in UTF-8
        ("commas_per_word", "a, b", 1 / 3),
        ("code", "def f(x):", 1.0),
        ("code", "plain words", 0.0),
    ],
)
def test_surface_counts_what_its_name_says(name, prompt, value):
    assert column(name, prompt) == pytest.approx(value)


def test_length_is_that_of_the_whole_prompt_and_shares_are_of_its_ends():
    long = "a" * 100_000

    assert column("log_chars", long) == pytest.approx(np.log1p(100_000))
    assert column("digits_share", "a" * MAX_CHARS + "1" * 10 + "a" * MAX_CHARS) == 0


@pytest.mark.parametrize("prompt", ["", "\ud800", "\0", "😀" * 5000, "ß", " " * 10_000])
def test_odd_text_gives_finite_features(prompt):
    assert np.isfinite(surface([prompt])).all()
    assert np.isfinite(ngram_ids(prompt, 3, 16)).all()
