"""Hashed n-grams."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from prefroute.lexicon import Lexicon
from prefroute.routers._text import ngrams, sum_rows


def hashes(prompts):
    return Lexicon(lambda piece: b"").read(prompts)[0]


def buckets(prompt, longest=2, bits=16):
    return ngrams(hashes([prompt]), longest, bits)[0].tolist()


def test_each_bucket_stands_once_and_in_order():
    ids = buckets("the cat and the dog and the bird")

    # 5 words, and the pairs "the cat", "cat and", "and the" (twice), "the dog", "dog and", "the bird"
    assert len(ids) == 5 + 6
    assert (np.diff(ids) > 0).all()


def test_case_does_not_matter_and_order_of_words_does():
    assert buckets("Big Dog") == buckets("big dog")
    assert buckets("dog big") != buckets("big dog")
    assert buckets("dog big", longest=1) == buckets("big dog", longest=1)


def test_buckets_are_the_same_in_another_process():
    script = (
        "from prefroute.lexicon import Lexicon; from prefroute.routers._text import ngrams; "
        "hashes = Lexicon(lambda piece: b'').read(['Prove that 17 is prime.'])[0]; "
        "print(ngrams(hashes, 2, 16)[0].tolist())"
    )

    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert other.strip() == str(buckets("Prove that 17 is prime."))


@pytest.mark.parametrize("longest", [1, 2, 3])
def test_no_ngram_reaches_over_the_end_of_its_prompt(longest):
    prompts = ["one two", "", "three", "a b c d a b"]

    together = ngrams(hashes(prompts), longest, 10)

    assert [found.tolist() for found in together] == [buckets(prompt, longest, 10) for prompt in prompts]


@pytest.mark.parametrize("prompt", ["", "\ud800", "\0", "😀" * 5000, "ß", " " * 10_000, "x" * 10_000])
def test_odd_text_gives_buckets_in_range(prompt):
    assert all(0 <= bucket < 2**16 for bucket in buckets(prompt, longest=3))


def test_a_sum_of_rows_is_the_same_alone_and_in_a_batch_to_the_last_bit():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((50, 7)).astype(np.float32)
    found = [rng.integers(50, size=size) for size in (3, 0, 40, 1)]

    together = sum_rows(rows, found)

    assert (together == np.concatenate([sum_rows(rows, [chosen]) for chosen in found])).all()
    np.testing.assert_allclose(together, [rows[chosen].sum(axis=0) for chosen in found], atol=1e-5)
    assert sum_rows(rows, []).shape == (0, 7)
