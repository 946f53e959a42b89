"""Words and signs of a text: what splits them is stated as a regular expression."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefroute.prompts import MAX_CHARS, pieces

SIGN_OR_WORD = re.compile(r"[!-/:-@\[-`{-~]|[^\s!-/:-@\[-`{-~]+")


@given(st.text(st.one_of(st.characters(), st.sampled_from(string.printable)), max_size=200))
def test_pieces_are_single_ascii_signs_and_what_stands_between_them_and_white_space(text):
    assert pieces(text) == SIGN_OR_WORD.findall(text)


@pytest.mark.parametrize("text", ["".join(map(chr, range(0x3100))), "\ud800\udfff", string.punctuation * 3, "", " \n"])
def test_pieces_of_odd_text(text):
    for start in range(0, len(text) + 1, MAX_CHARS):
        part = text[start : start + MAX_CHARS]
        assert pieces(part) == SIGN_OR_WORD.findall(part)
