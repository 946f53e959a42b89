from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefroute.serve.upstream.events import DONE, EventReader

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=6)


def content(text: str, finish: str | None = None, end: str = "\n\n") -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice]}, ensure_ascii=False)}{end}".encode()


def read(pieces) -> tuple[EventReader, bytes]:
    reader = EventReader()
    kept = b"".join([reader.feed(piece) for piece in pieces])
    return reader, kept + reader.end()


def cut(data: bytes, where) -> list[bytes]:
    edges = [0, *sorted(edge % (len(data) + 1) for edge in where), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a < b]


@given(TEXTS, st.sampled_from(["\n\n", "\r\n\r\n", "\r\r", "\n\r\n"]), st.lists(st.integers(0, 10_000)))
def test_where_the_network_cuts_the_bytes_does_not_matter(texts, end, where):
    events = [content(text, end=end) for text in texts] + [content("", "stop", end)]
    data = b"".join(events) + b"data: [DONE]" + end.encode()

    reader, kept = read(cut(data, where))

    assert kept.replace(b"\r", b"\n").strip() == b"".join(events).replace(b"\r", b"\n").strip()
    assert (reader.is_complete, reader.is_done, reader.n_malformed) == (True, True, 0)
    assert reader.usage.tokens_out == -(-sum(map(len, texts)) // 4)


@given(st.lists(st.binary(max_size=60)))
def test_no_bytes_make_the_reader_raise(pieces):
    read(pieces)


@given(TEXTS)
def test_one_byte_at_a_time_gives_the_same_as_all_at_once(texts):
    data = b"".join(content(text) for text in texts) + DONE

    assert read([data[i : i + 1] for i in range(len(data))])[1] == read([data])[1]


def test_a_piece_that_ends_with_an_event_is_handed_on_as_it_is():
    piece = content("a") + content("b")

    assert EventReader().feed(piece) is piece


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x"},
        {"reasoning_content": "x"},
        {"refusal": "no"},
        {"tool_calls": [{"index": 0, "function": {"name": "f"}}]},
        {"audio": {"id": "a"}},
    ],
)
def test_content_is_whatever_a_delta_holds_beside_its_role(delta):
    reader = EventReader()

    reader.feed(b'data: {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}\n\n')
    assert not reader.has_content
    reader.feed(b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() + b"\n\n")
    assert reader.has_content


def test_a_finish_without_content_lets_the_stream_through():
    reader = EventReader()

    reader.feed(b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "content_filter"}]}\n\n')

    assert reader.has_content
    assert reader.is_complete


def test_an_answer_is_complete_when_every_choice_has_finished():
    reader = EventReader()

    for index, finish in ((0, None), (1, None), (1, "stop")):
        choice = {"index": index, "delta": {"content": "x"}, "finish_reason": finish}
        reader.feed(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
        assert not reader.is_complete
    reader.feed(content("", "length"))
    assert reader.is_complete


def test_an_answer_is_not_complete_before_every_choice_that_was_asked_for_has_finished():
    reader = EventReader(n_choices=2)

    reader.feed(content("only one", "stop"))
    assert not reader.is_complete
    reader.feed(b'data: {"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]}\n\n')
    assert reader.is_complete


@pytest.mark.parametrize(
    "event",
    [
        b"data: {\n\n",
        b"data: null\n\n",
        b"data: [1]\n\n",
        b'data: {"choices": 5}\n\n',
        b'data: {"choices": ["x"]}\n\n',
        b'data: {"choices": [{"delta": "x"}]}\n\n',
        b'data: {"choices": [{"index": [], "delta": {}}]}\n\n',
        b'data: "\xff"\n\n',
    ],
)
def test_a_malformed_event_is_left_out_and_counted(event):
    reader, kept = read([content("a") + event + content("b", "stop") + DONE])

    assert kept == content("a") + content("b", "stop")
    assert reader.n_malformed == 1


@pytest.mark.parametrize(
    "malformed", ["null", '{"index": 1, "delta": "x"}', '{"index": [], "delta": {"content": "x"}}']
)
def test_an_event_with_one_good_choice_passes_whatever_the_other_is(malformed):
    good = '{"index": 0, "delta": {"content": "Hello"}, "finish_reason": "stop"}'
    for choices in (f"{good}, {malformed}", f"{malformed}, {good}"):
        event = f'data: {{"choices": [{choices}]}}\n\n'.encode()

        reader, kept = read([event])

        assert kept == event
        assert (reader.n_malformed, reader.usage.tokens_out, reader.has_content) == (1, 2, True)


def test_comments_pass_only_once_content_has():
    assert read([b": early\n\n" + content("a") + b": ping\n\n"])[1] == content("a") + b": ping\n\n"


def test_a_byte_order_mark_is_taken_off_even_in_pieces():
    reader = EventReader()

    assert [reader.feed(piece) for piece in (b"\xef", b"\xbb", b"\xbf" + content("a"))] == [b"", b"", content("a")]


def test_a_legacy_completion_is_read_from_its_text():
    reader, _ = read([b'data: {"choices": [{"index": 0, "text": "To be, or", "finish_reason": "stop"}]}\n\n'])

    assert reader.is_complete
    assert reader.usage.tokens_out == 3


def test_nothing_passes_after_an_error():
    reader, kept = read([content("a") + b'data: {"error": {"message": "x"}}\n\n' + content("b", "stop") + DONE])

    assert kept == content("a")
    assert reader.has_error
    assert not reader.is_complete


@pytest.mark.parametrize("piece", [b"x" * 10, b"data: x\r\n", b"data: x\r", b"data: x\n", b"\rdata:", b"\ndata:"])
def test_a_long_event_in_many_pieces_takes_linear_work(piece):
    reader = EventReader()
    n_joined = 0

    for _ in range(100_000):
        reader.feed(piece)
        n_joined += len(reader._held) == 1

    assert n_joined == 1  # only the first piece: the others were kept apart
