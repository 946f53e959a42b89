"""Any text can be stored, and comes back."""

from hypothesis import given
from hypothesis import strategies as st

from prefroute.journal.escape import escape, unescape

ANY = st.text(st.characters(codec=None, categories=None) | st.sampled_from("\x00\ue000\ud800\udfff0a"))


@given(ANY)
def test_escaped_text_comes_back(text):
    assert unescape(escape(text)) == text


@given(ANY)
def test_escaped_text_is_what_every_database_takes(text):
    assert "\x00" not in escape(text)
    escape(text).encode("utf-8")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00\ue000")))
def test_ordinary_text_is_left_as_it_is(text):
    assert escape(text) == text
