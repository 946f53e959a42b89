"""What is set aside comes back as it was, and nothing is let through that the parser alone would refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefroute.serve import attachments
from prefroute.serve.attachments import put_back, set_aside
from prefroute.serve.faults import Fault
from prefroute.serve.wire import read_json

LONG = "iVBORw0KGgo=" * 30_000
IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{LONG}"}}


def written(raw: bytes) -> bytes | None:
    """A body as it is written again; None where it is refused."""
    try:
        return orjson.dumps(read_json(raw))
    except Fault:
        return None


@pytest.fixture
def short() -> Iterator[None]:
    """Strings of a few bytes count as long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attachments, "_LONG_BYTES", 4)
        yield


@pytest.mark.parametrize(
    "part",
    [
        IMAGE,
        {"type": "image_url", "image_url": f"data:image/png;base64,{LONG}"},
        {"type": "input_audio", "input_audio": {"data": LONG, "format": "wav"}},
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{LONG}", "filename": "a.pdf"}},
    ],
)
def test_an_attachment_is_not_parsed_and_arrives_as_it_was(part):
    text = {"type": "text", "text": "What is this?"}
    body = {"model": "m", "messages": [{"role": "user", "content": [text, part, part]}], "data": "short"}
    raw = json.dumps(body, indent=1).encode()

    left, aside = set_aside(raw)

    assert len(aside) == 2
    assert len(left) < 1000
    assert json.loads(written(raw) or b"") == body


def test_text_is_never_set_aside():
    said = f'{{"url": "data:image/png;base64,{LONG}"}}'
    body = {"model": "m", "messages": [{"role": "user", "content": said}, {"role": "user", "content": LONG}]}
    raw = json.dumps(body).encode()

    assert set_aside(raw) == (raw, {})
    assert read_json(raw) == body


def test_an_attachment_with_escapes_or_letters_of_other_scripts_is_left_where_it_is():
    for url in (LONG + '\\"\\n\\u00e9', LONG + "é"):
        raw = f'{{"url": "{url}", "data": "{LONG}"}}'.encode()

        assert len(set_aside(raw)[1]) == 1
        assert json.loads(written(raw) or b"") == json.loads(raw)


@pytest.mark.parametrize("url", [f"{LONG}\n", f"\x00{LONG}", "\u0080" + LONG, f"{LONG}\x1f"])
def test_what_json_forbids_in_a_string_is_refused_there_too(url):
    raw = f'{{"url": "{url}"}}'.encode("latin-1")

    with pytest.raises(Fault, match="not valid JSON"):
        read_json(raw)


def test_of_an_attachment_that_stands_twice_the_last_counts():
    raw = f'{{"url": "{LONG}1", "url": "{LONG}2"}}'.encode()

    assert written(raw) == f'{{"url":"{LONG}2"}}'.encode()


def test_a_name_that_stands_in_place_of_an_attachment_cannot_be_known_before():
    raw = json.dumps(IMAGE).encode()

    assert set_aside(raw)[1].keys().isdisjoint(set_aside(raw)[1].keys())


PIECES = st.sampled_from(
    [
        '"',
        "\\",
        '\\"',
        '"url"',
        '"data"',
        ":",
        ": ",
        " ",
        ",",
        "{",
        "}",
        "[",
        "]",
        "aaaaaaaa",
        '"url":"aaaaaaaa"',
        '"url":"a"',
        "\n",
        "é",
    ]
)


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.lists(PIECES, max_size=12).map("".join))
def test_any_text_is_refused_or_written_as_without_it(short, text):
    raw = f'{{"url": "{text}'.encode()

    try:
        expected = orjson.loads(raw)
    except orjson.JSONDecodeError:
        expected = None
    left, aside = set_aside(raw)
    try:
        found = orjson.loads(left)
    except orjson.JSONDecodeError:
        assert expected is None
        return
    put_back(found, aside)

    assert orjson.loads(orjson.dumps(found)) == expected
