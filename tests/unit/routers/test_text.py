"""Hashed n-grams."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from prefroute.prompts import pieces
from prefroute.routers._text import ngram_rows


def buckets(prompt, ngrams=2, bits=16):
    return ngram_rows([pieces(prompt)], ngrams, bits).column.tolist()


def test_each_bucket_stands_once_and_in_order():
    ids = buckets("the cat and the dog and the bird")

    # 5 words, and the pairs "the cat", "cat and", "and the" (twice), "the dog", "dog and", "the bird"
    assert len(ids) == 5 + 6
    assert (np.diff(ids) > 0).all()


def test_case_does_not_matter_and_order_of_words_does():
    assert buckets("Big Dog") == buckets("big dog")
    assert buckets("dog big") != buckets("big dog")
    assert buckets("dog big", ngrams=1) == buckets("big dog", ngrams=1)


def test_buckets_are_the_same_in_another_process():
    script = (
        "from prefroute.prompts import pieces; from prefroute.routers._text import ngram_rows; "
        "print(ngram_rows([pieces('Prove that 17 is prime.')], 2, 16).column.tolist())"
    )

    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert other.strip() == str(buckets("Prove that 17 is prime."))


@pytest.mark.parametrize("ngrams", [1, 2, 3])
def test_no_ngram_reaches_over_the_end_of_its_prompt(ngrams):
    prompts = ["one two", "", "three", "a b c d a b"]

    rows = ngram_rows([pieces(prompt) for prompt in prompts], ngrams, 10)

    assert rows.shape == (4, 1024)
    for i, prompt in enumerate(prompts):
        assert rows.column[rows.row == i].tolist() == buckets(prompt, ngrams, 10)


@pytest.mark.parametrize("prompt", ["", "\ud800", "\0", "😀" * 5000, "ß", " " * 10_000, "x" * 10_000])
def test_odd_text_gives_buckets_in_range(prompt):
    assert all(0 <= bucket < 2**16 for bucket in buckets(prompt, ngrams=3))
