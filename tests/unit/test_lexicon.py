"""Words as numbers: the same words as by splitting, in bounded memory, from any thread."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefroute import lexicon
from prefroute.lexicon import Table, split, sum_rows
from prefroute.prompts import MAX_CHARS, pieces


def words(found):
    """The pieces of each prompt, in order."""
    return [[found.lexicon.pieces[number] for number in numbers] for numbers in found.numbers]


def lengths(texts):
    return np.array([len(text) for text in texts])


@pytest.fixture
def tiny(monkeypatch):
    """A lexicon that is full after twenty entries."""
    monkeypatch.setattr(lexicon, "_MOST_ENTRIES", 20)
    monkeypatch.setattr(lexicon, "_lexicon", lexicon.Lexicon())


@given(st.lists(st.text(max_size=60), max_size=5))
def test_numbers_stand_for_the_pieces_of_each_prompt(prompts):
    assert words(split(prompts)) == [pieces(prompt) for prompt in prompts]


@pytest.mark.parametrize("space", ["\t", "\x0b", "\x1c", "\x85", "\xa0", "\u2003", "\u3000", "\u200b"])
def test_every_white_space_splits_as_in_pieces(space):
    assert words(split([f"a{space}b,{space}"])) == [pieces(f"a{space}b,{space}")]


def test_the_middle_of_a_very_long_prompt_is_not_read():
    filler = "word " * MAX_CHARS

    assert words(split([filler + "zebra " + filler])) == [pieces(filler + "zebra " + filler)]
    assert "zebra" not in words(split([filler + "zebra " + filler]))[0]


def test_a_piece_has_one_number_in_every_prompt_and_inside_longer_stretches():
    first, second, third = split(["cat", "(cat)", "a cat."]).numbers

    assert first[0] == second[1] == third[1]


def test_a_table_computes_a_row_once_for_each_piece(tiny):
    seen: list[str] = []

    def noted_lengths(texts):
        seen.extend(texts)
        return lengths(texts)

    table = Table(noted_lengths)

    for prompt in ("one two", "two three", "three one"):
        found = split([prompt])
        assert table.rows(found).take(found.numbers[0]).tolist() == [len(word) for word in prompt.split()]

    assert sorted(seen) == ["one", "three", "two"]


def test_rows_are_right_for_a_split_that_is_older_than_the_lexicon(tiny):
    table = Table(lengths)
    old = split(["one three fifteen"])
    for i in range(30):
        split([f"word{i} other{i}"])  # a new lexicon begins

    assert split([""]).lexicon is not old.lexicon
    assert table.rows(old).take(old.numbers[0]).tolist() == [3, 5, 7]


@pytest.mark.parametrize("text", ["w{i}", "w{i}" + "x" * MAX_CHARS, "a,b,c,d,{i}"])
def test_memory_is_bounded_whatever_comes(monkeypatch, text):
    monkeypatch.setattr(lexicon, "_MOST_ENTRIES", 1000)
    monkeypatch.setattr(lexicon, "_MOST_CHARS", 5 * MAX_CHARS)
    monkeypatch.setattr(lexicon, "_lexicon", lexicon.Lexicon())

    kept = []
    for i in range(1100):
        found = split([text.format(i=i)]).lexicon
        kept.append(len(found) + len(found.pieces))
        assert sum(map(len, found)) <= 6 * MAX_CHARS

    assert max(kept) <= 1000 + MAX_CHARS


def test_a_full_lexicon_is_let_go_with_the_rows_of_every_table(tiny):
    table = Table(lengths)
    found = split(["some words"])
    table.rows(found)
    old = weakref.ref(found.lexicon)
    del found

    for i in range(30):
        split([f"word{i}"])

    gc.collect()
    assert old() is None


def test_a_table_that_is_let_go_takes_its_rows_with_it():
    table = Table(lengths)
    found = split(["some words"])
    table.rows(found)
    assert table in found.lexicon.kept

    before = len(found.lexicon.kept)
    del table
    gc.collect()

    assert len(found.lexicon.kept) == before - 1


def test_threads_agree_on_words_and_rows_while_lexicons_come_and_go(tiny):
    table = Table(lengths)

    def check(seed):
        for i in range(200):
            prompt = f"{'x' * (i % 7)} y{seed} {'z' * (i % 5 + seed)}, {i}"
            found = split([prompt])
            assert words(found) == [pieces(prompt)]
            assert table.rows(found).take(found.numbers[0]).tolist() == [len(piece) for piece in pieces(prompt)]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(check, range(4)))


def test_a_sum_of_rows_is_the_same_alone_and_in_a_batch_to_the_last_bit():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((50, 7)).astype(np.float32)
    numbers = [rng.integers(50, size=size) for size in (3, 0, 40, 1)]

    together = sum_rows(rows, numbers)

    assert (together == np.concatenate([sum_rows(rows, [chosen]) for chosen in numbers])).all()
    np.testing.assert_allclose(together, [rows[chosen].sum(axis=0) for chosen in numbers], atol=1e-5)
    assert sum_rows(rows, []).shape == (0, 7)
