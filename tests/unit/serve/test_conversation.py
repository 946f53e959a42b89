"""What of a conversation is scored, and what else is read from a body."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefroute.serve.conversation import (
    EARLIER_CHARS,
    SYSTEM_CHARS,
    TEXT_CHARS,
    Conversation,
    _without_boilerplate,
    read_conversation,
)


def chat(*turns: tuple[str, Any], **fields: Any) -> Conversation:
    return read_conversation({"messages": [{"role": role, "content": content} for role, content in turns], **fields})


def test_one_short_question_is_scored_as_it_is():
    assert chat(("user", " What is 2 + 2?\n")).text == " What is 2 + 2?\n"


def test_the_last_user_turn_comes_first_then_earlier_ones_newest_first_then_the_system_text():
    conversation = chat(
        ("system", "You are a tutor."),
        ("user", "What is a prime?"),
        ("assistant", "A number with two divisors."),
        ("user", "Name one please."),
        ("assistant", "Seven."),
        ("user", "Prove that it is one."),
    )

    assert conversation.text == "Prove that it is one.\n\nName one please.\n\nWhat is a prime?\n\nYou are a tutor."
    assert conversation.n_turns == 3


def test_what_tools_and_the_assistant_said_does_not_decide():
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    asked = [{"role": "user", "content": "How warm is it?"}]
    answered = [
        *asked,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "Prove Fermat's last theorem. " * 100},
        {"role": "assistant", "content": "Twenty degrees."},
        {"role": "function", "name": "look", "content": "more"},
    ]

    assert read_conversation({"messages": answered}).text == read_conversation({"messages": asked}).text


def test_the_last_turn_may_take_the_whole_budget_by_its_head_and_tail():
    text = chat(("system", "s" * 500), ("user", "earlier question"), ("user", "a" * 9000 + "z" * 9000)).text

    assert len(text) == TEXT_CHARS
    assert text.startswith("aaa")
    assert text.endswith("zzz")


def test_context_is_added_only_where_every_router_would_read_it():
    text = chat(("system", "s" * 500), ("user", "earlier question"), ("user", "a" * 2040)).text

    assert text == "a" * 2040


def test_earlier_turns_and_the_system_text_keep_to_their_budgets():
    text = chat(
        ("system", "s" * 5000), ("user", "x" * 5000), ("user", "y" * 300), ("user", "And now the last one?")
    ).text

    last, newer, older, system = text.split("\n\n")
    assert last == "And now the last one?"
    assert newer == "y" * 300
    assert set(older) == {"x", " "}
    assert len(newer) + len(older) <= EARLIER_CHARS
    assert len(system) == SYSTEM_CHARS


def test_text_parts_are_scored_and_other_parts_are_not_looked_at():
    parts = [
        {"type": "text", "text": "What is in this picture?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "QUJD" * 100}},
        {"type": "text", "text": "Answer in French."},
    ]

    conversation = chat(("user", parts))

    assert conversation.text == "What is in this picture?\nAnswer in French."
    assert conversation.needs == {"images"}
    assert conversation.tokens_in < 1100  # a picture counts as a picture, not as its letters


def test_harness_blocks_do_not_decide():
    question = "Rename the function."
    wrapped = f"<system-reminder>\nProve theorems.\n</system-reminder>\n{question}<tool_list>ls, cat</tool_list>"

    assert chat(("user", wrapped)).text == question


def test_a_turn_of_nothing_but_harness_blocks_leaves_the_decision_to_the_turn_before():
    reminder = "<system-reminder>Mind the list.</system-reminder>"

    assert chat(("user", "Prove it."), ("assistant", "Done."), ("user", reminder)).text == "Prove it."


def test_a_question_after_a_long_harness_block_is_scored():
    reminder = f"<system-reminder>{'Prove it. ' * 3000}</system-reminder>"

    assert chat(("user", f"{reminder}Rename the function.")).text == "Rename the function."


def test_turns_of_nothing_but_blocks_are_not_searched_without_end():
    question, block = ("user", "Prove it again."), ("user", f"<tools>{'x' * 40_000}</tools>")

    assert chat(question, block).text == "Prove it again."
    assert chat(question, block, block).text == ""


def test_an_unclosed_block_stays_text():
    assert chat(("user", "What does <tools> mean in HTML?")).text == "What does <tools> mean in HTML?"


class CountsSearches(str):
    n_searches = 0

    def find(self, *args: Any) -> int:
        self.n_searches += 1
        return super().find(*args)


def test_the_end_of_an_unclosed_block_is_looked_for_once():
    text = CountsSearches("<tools><functions>" * 1000)

    assert _without_boilerplate(text) == text
    assert text.n_searches == 2  # not 2000, each to the end of the text: a megabyte of these would take minutes


@pytest.mark.parametrize("content", ["", "  \n", None, [], [{"type": "text", "text": ""}]])
def test_a_conversation_without_text_has_nothing_to_score(content):
    assert chat(("user", content)).text == ""


def test_system_text_is_scored_where_there_is_no_user_text():
    assert chat(("system", "Write a poem about rain.")).text == "Write a poem about rain."


def test_the_prompt_of_a_completions_request_is_scored():
    assert read_conversation({"prompt": "Once upon a time"}).text == "Once upon a time"
    assert read_conversation({"prompt": ["one prompt goes here", "and another goes here"]}).text.startswith(
        "and another"
    )
    assert read_conversation({"prompt": [1, 2, 3]}).text == ""


@pytest.mark.parametrize(
    ("fields", "needs"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, {"tools"}),
        ({"functions": [{"name": "f"}]}, {"tools"}),
        ({"tools": []}, set()),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, {"json_schema"}),
        ({"response_format": {"type": "json_object"}}, set()),
        ({"modalities": ["text", "audio"]}, {"audio"}),
    ],
)
def test_needs_are_read_from_the_fields(fields, needs):
    assert chat(("user", "hi"), **fields).needs == needs


@pytest.mark.parametrize(
    ("kind", "needs"),
    [
        ("image_url", {"images"}),
        ("input_audio", {"audio"}),
        ("file", {"files"}),
        ("text", set()),
        ("hologram", set()),
    ],
)
def test_needs_are_read_from_the_parts(kind, needs):
    assert chat(("user", [{"type": kind}])).needs == needs


def test_a_conversation_that_has_used_tools_needs_them_still():
    assert chat(("user", "hi"), ("tool", "20 degrees")).needs == {"tools"}


def test_tokens_are_a_quarter_of_the_bytes_of_all_turns_and_tools():
    tools = [{"type": "function", "function": {"name": "f", "description": "d" * 4000}}]

    conversation = chat(("user", "x" * 4000), ("assistant", "y" * 4000), ("user", "é" * 2000), tools=tools)

    letters = 3 * 1000  # é is two bytes
    assert conversation.tokens_in == letters + 3 * 4 + len(orjson.dumps(tools)) // 4
    assert conversation.n_tokens == conversation.tokens_in


def test_the_longest_allowed_answer_counts_towards_the_context():
    conversation = chat(("user", "hi"), max_tokens=10, max_completion_tokens=500)

    assert conversation.max_tokens_out == 500
    assert conversation.n_tokens == conversation.tokens_in + 500


def test_turns_of_one_conversation_share_a_key_and_others_do_not():
    rules = "Answer in one line. " * 250  # 5,000 characters: enough tokens for a prompt cache
    first = chat(("system", rules), ("user", "one"))
    later = chat(("system", rules), ("user", "one"), ("assistant", "a"), ("user", "two"))

    assert first.prefix_key is not None
    assert first.prefix_key == later.prefix_key
    assert chat(("system", rules + "!"), ("user", "one")).prefix_key != first.prefix_key
    assert chat(("system", rules), ("user", "two")).prefix_key != first.prefix_key
    assert chat(("system", rules)).prefix_key is None


def test_a_request_that_no_prompt_cache_keeps_has_no_key():
    assert chat(("system", "s"), ("user", "one")).prefix_key is None


scalars = st.sampled_from([None, True, -1, 0.5, 2**63, "", "audio", "data:image/png;base64,QUJD", "é" * 9])
json_values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.sampled_from(["type", "text"]), scalars)
contents = json_values | st.lists(
    st.fixed_dictionaries({"type": st.sampled_from(["text", "image_url", "file"]), "text": json_values}), max_size=3
)
roles = st.sampled_from(["user", "assistant", "system", "developer", "tool"]) | json_values
messages = st.lists(
    st.fixed_dictionaries({"role": roles, "content": contents}, optional={"tool_calls": json_values}) | json_values,
    max_size=6,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: json_values
            for name in ("prompt", "tools", "functions", "response_format", "modalities", "max_tokens")
        }
        | {"messages": messages},
    )
)
def test_any_body_is_read_and_left_as_it_was(body):
    before = orjson.dumps(body)

    conversation = read_conversation(body)

    assert len(conversation.text) <= TEXT_CHARS
    assert conversation.tokens_in >= 0
    assert orjson.dumps(body) == before


@given(st.lists(st.text(max_size=400), min_size=1, max_size=6), st.text(max_size=400))
def test_the_scored_text_begins_with_the_last_turn_that_has_text(turns, system):
    text = chat(("system", system), *(("user", turn) for turn in turns)).text

    last = next((turn for turn in reversed(turns) if turn.strip()), "")
    assert text.startswith(_without_boilerplate(last))


@given(st.text(max_size=200), st.text(max_size=200))
def test_assistant_text_never_changes_what_is_scored(said, other):
    turns = [("user", "Is it so?"), ("assistant", said), ("user", "Why?")]

    assert chat(*turns).text == chat(turns[0], ("assistant", other), turns[2]).text
