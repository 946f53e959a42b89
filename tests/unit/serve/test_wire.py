"""Bodies: what is refused, where the refusal points, and what travels through."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefroute.serve.faults import Fault
from prefroute.serve.wire import check_chat, check_completions, check_embeddings, check_feedback, read_json

USER = {"role": "user", "content": "hi"}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {}}]}


def chat(**fields):
    return {"model": "auto", "messages": [USER], **fields}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{x}",
        b"{} x",
        b"\xef\xbb\xbf{}",
        b"[" * 50_000,
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": "\xff"}',
        b'{"a": "\xc0\xaf"}',
        b'{"a": "\\ud800"}',
    ],
)
def test_what_is_not_json_is_refused(raw):
    with pytest.raises(Fault, match="not valid JSON") as caught:
        read_json(raw)

    assert (caught.value.status, caught.value.code) == (400, "invalid_json")


@pytest.mark.parametrize("raw", [b"null", b"[]", b'"s"', b"1", b"true"])
def test_json_that_is_no_object_is_refused(raw):
    with pytest.raises(Fault, match="must be a JSON object"):
        read_json(raw)


def test_of_a_key_that_stands_twice_the_last_counts():
    assert read_json(b'{"model": "a", "model": "b"}') == {"model": "b"}


@given(st.lists(st.integers(-(10**40), 10**40) | st.integers(2**63 - 2, 2**64 + 2) | st.integers(-(2**63) - 2, 0)))
def test_whole_numbers_of_any_length_are_written_as_they_were_read(numbers):
    raw = json.dumps({"seed": numbers, "deep": [{"x": number} for number in numbers]}).encode()

    assert json.loads(orjson.dumps(read_json(raw))) == json.loads(raw)


def test_a_number_of_any_length_is_a_number():
    check_chat(read_json(json.dumps(chat(temperature=10**30)).encode()))


def test_a_number_that_is_too_long_for_its_field_is_refused():
    with pytest.raises(Fault, match="`max_tokens` must be an integer"):
        check_chat(read_json(json.dumps(chat(max_tokens=10**30)).encode()))


@pytest.mark.parametrize(
    "body",
    [
        chat(),
        chat(messages=[{"role": "user", "content": ""}]),
        chat(messages=[{"role": "user", "content": "a\x00b"}]),
        chat(messages=[CALL, {"role": "tool", "content": "4", "tool_call_id": "1"}, USER]),
        chat(messages=[{"role": "user", "content": [{"type": "unheard_of", "x": 1}, {"type": "text", "text": ""}]}]),
        chat(messages=[USER] * 10_000),
        chat(stream=True, stream_options={"include_usage": True}),
        chat(stream=None, temperature=None, tools=None),
        chat(n=2.0, max_tokens=10.0),
        chat(n=128, max_tokens=2**31 - 1, top_logprobs=20, logprobs=True, tool_choice={"type": "function"}),
        chat(vendor={"deep": [1]}, extra=[None], router_hint="x"),
        chat(temperature=3, top_p=1.5, frequency_penalty=-3, presence_penalty=5, top_logprobs=50),
        chat(max_tokens=-1, max_completion_tokens=-1),  # "no limit", to several servers
        chat(messages=[{"role": "custom", "content": "hi"}, {"role": "custom"}, {"role": "function", "content": None}]),
    ],
)
def test_what_a_model_may_take_is_let_through(body):
    check_chat(body)


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"model": None}, "missing_required_parameter", "model"),
        ({"model": 1}, "invalid_type", "model"),
        ({"messages": None}, "missing_required_parameter", "messages"),
        ({"messages": "hi"}, "invalid_type", "messages"),
        ({"messages": []}, "invalid_value", "messages"),
        ({"messages": [None]}, "invalid_type", "messages.0"),
        ({"messages": [USER, {"content": "hi"}]}, "missing_required_parameter", "messages.1.role"),
        ({"messages": [{"role": 7, "content": "hi"}]}, "invalid_type", "messages.0.role"),
        ({"messages": [{"role": "user", "content": None}]}, "invalid_type", "messages.0.content"),
        ({"messages": [{"role": "user", "content": 1}]}, "invalid_type", "messages.0.content"),
        ({"messages": [{"role": "user", "content": ["hi"]}]}, "invalid_type", "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "missing_required_parameter", "messages.0.content.0.type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]},
            "invalid_type",
            "messages.0.content.0.text",
        ),
        ({"n": True}, "invalid_type", "n"),
        ({"n": 0}, "invalid_value", "n"),
        ({"n": 1.5}, "invalid_type", "n"),
        ({"n": 1e9}, "invalid_value", "n"),
        ({"max_tokens": -2}, "invalid_value", "max_tokens"),
        ({"max_tokens": 2**63}, "invalid_value", "max_tokens"),
        ({"top_logprobs": 2.5}, "invalid_type", "top_logprobs"),
        ({"temperature": "0.5"}, "invalid_type", "temperature"),
        ({"temperature": True}, "invalid_type", "temperature"),
        ({"stream": "true"}, "invalid_type", "stream"),
        ({"stream": 1}, "invalid_type", "stream"),
        ({"stream_options": {}}, "invalid_value", "stream_options"),
        ({"tools": {}}, "invalid_type", "tools"),
        ({"tools": ["f"]}, "invalid_type", "tools.0"),
        ({"api_key": "sk"}, "invalid_value", "api_key"),
    ],
)
def test_a_refusal_points_at_the_field(fields, code, param):
    with pytest.raises(Fault) as caught:
        check_chat(chat(**fields))

    assert (caught.value.status, caught.value.code, caught.value.param) == (400, code, param)


def test_prompts_and_inputs_may_be_texts_or_tokens():
    for text in ("hi", ["hi", "ho"], [1, 2], [[1], [2]]):
        check_completions({"model": "m", "prompt": text})
        check_embeddings({"model": "m", "input": text})
    for check, name in ((check_completions, "prompt"), (check_embeddings, "input")):
        with pytest.raises(Fault, match=f"`{name}` must be a string or an array"):
            check({"model": "m", name: 1})
        with pytest.raises(Fault, match=f"`{name}` is missing"):
            check({"model": "m"})
    with pytest.raises(Fault, match="must not be empty"):
        check_embeddings({"model": "m", "input": []})


@pytest.mark.parametrize(
    ("feedback", "param"),
    [
        ({"score": 1}, "request_id"),
        ({"request_id": 1, "score": 1}, "request_id"),
        ({"request_id": "r"}, "score"),
        ({"request_id": "r", "score": 1, "preferred": "m"}, "score"),
        ({"request_id": "r", "score": True}, "score"),
        ({"request_id": "r", "score": 1.1}, "score"),
        ({"request_id": "r", "preferred": 1}, "preferred"),
        ({"request_id": "r", "score": 1, "scored": 1}, "scored"),
    ],
)
def test_feedback_is_one_score_or_one_preference(feedback, param):
    with pytest.raises(Fault) as caught:
        check_feedback(feedback)

    assert caught.value.param == param
    check_feedback({"request_id": "r", "score": 0})
    check_feedback({"request_id": "r", "preferred": "m"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ("model", "messages", "n", "stream", "tools", "stop", "temperature", "input", "prompt", "request_id", "score")


def refusal(check, value):
    """The fault of a check; None where it lets the value through."""
    try:
        check(value)
    except Fault as fault:
        return fault
    return None


@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), JSON, max_size=6))
def test_no_body_makes_a_check_fail_other_than_by_a_fault(body):
    for check in (check_chat, check_completions, check_embeddings, check_feedback):
        fault = refusal(lambda raw, check=check: check(read_json(raw)), orjson.dumps(body))

        assert fault is None or (fault.status == 400 and orjson.loads(fault.body()))


@given(st.binary(max_size=200))
def test_no_bytes_make_reading_fail_other_than_by_a_fault(raw):
    fault = refusal(read_json, raw)

    assert fault is None or fault.status == 400


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_what_could_be_read_but_not_be_sent_on_is_refused(opening):
    deep = '{"metadata":' + opening * 251 + "1" + ("]" if opening == "[" else "}") * 251 + "}"

    with pytest.raises(Fault, match="nested more than 250 levels"):
        read_json(deep.encode())


def test_brackets_in_a_text_are_no_levels():
    assert read_json(b'{"prompt":"' + b"[{" * 5000 + b'"}') == {"prompt": "[{" * 5000}


def test_more_lists_than_any_request_needs_are_refused_before_they_are_parsed():
    with pytest.raises(Fault, match="more than 200,000 lists and objects"):
        read_json(b'{"metadata":[' + b"[]," * 200_000 + b"[]]}")
