"""What is known of words: of the same words as by splitting, in bounded memory, from any thread."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefroute import lexicon
from prefroute.lexicon import Lexicon
from prefroute.prompts import MAX_CHARS, pieces


def spelled(piece):
    """A reader that knows how a piece is spelled."""
    return piece.encode("utf-8", "surrogatepass") + b" "


def expected(prompt):
    """What a lexicon of `spelled` should give for the prompt."""
    return b"".join(map(spelled, pieces(prompt)))


@pytest.fixture
def tiny(monkeypatch):
    """Lexicons that are full after ten entries."""
    monkeypatch.setattr(lexicon, "_MOST_ENTRIES", 10)


@given(st.lists(st.text(max_size=60), max_size=5))
def test_what_is_known_is_that_of_the_pieces_of_each_prompt(prompts):
    words = Lexicon(spelled)

    assert words.read(prompts)[1] == [expected(prompt) for prompt in prompts]
    assert words.read(prompts)[1] == [expected(prompt) for prompt in prompts]  # and of what was read before


@pytest.mark.parametrize("space", ["\t", "\x0b", "\x1c", "\x85", "\xa0", "\u2003", "\u3000", "\u200b"])
def test_every_white_space_splits_as_in_pieces(space):
    prompt = f"a{space}b,{space}"

    assert Lexicon(spelled).read([prompt])[1] == [expected(prompt)]


def test_hashes_are_those_of_the_pieces_in_lower_case():
    hashes = Lexicon(spelled).read(["The cat, THE", ""])[0]

    assert hashes[0].tolist() == [zlib.crc32(piece) for piece in (b"the", b"cat", b",", b"the")]
    assert hashes[1].tolist() == []
    assert hashes[1].dtype == np.uint64


def test_the_middle_of_a_very_long_prompt_is_not_read():
    filler = "word " * MAX_CHARS

    assert Lexicon(spelled).read([filler + "zebra " + filler])[1] == Lexicon(spelled).read([filler + filler])[1]


def test_a_piece_is_looked_at_once_alone_or_inside_longer_stretches():
    seen: list[str] = []

    def noted(piece):
        seen.append(piece)
        return b""

    words = Lexicon(noted)
    for prompt in ("cat", "(cat)", "a cat.", "(cat) a"):
        words.read([prompt])

    assert sorted(seen) == ["(", ")", ".", "a", "cat"]


@pytest.mark.parametrize("text", ["w{i}", "w{i}" + "x" * MAX_CHARS, "a,b,c,d,{i}", "{i}" + "漢" * 20])
def test_memory_is_bounded_whatever_comes(monkeypatch, text):
    monkeypatch.setattr(lexicon, "_MOST_ENTRIES", 100)
    words = Lexicon(spelled)

    for i in range(1000):
        words.read([text.format(i=i)])
        kept = [*words, *words._older]
        assert len(kept) <= 200
        assert all(len(stretch) <= 32 for stretch in kept)


def test_what_is_asked_for_again_outlives_a_full_lexicon(tiny):
    seen: list[str] = []

    def noted(piece):
        seen.append(piece)
        return spelled(piece)

    words = Lexicon(noted)
    for i in range(40):
        assert words.read([f"often word{i}"])[1] == [b"often " + f"word{i} ".encode()]

    assert seen.count("often") == 1


def test_threads_read_the_same_while_entries_come_and_go(tiny):
    words = Lexicon(spelled)

    def check(seed):
        for i in range(200):
            prompt = f"{'x' * (i % 7)} y{seed} {'z' * (i % 5 + seed)}, {i}"
            assert words.read([prompt])[1] == [expected(prompt)]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(check, range(4)))
