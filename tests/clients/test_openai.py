"""The official openai client, unmodified: whole answers, streams, tools, structured output, errors."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import openai
import pydantic
import pytest
from tests.clients.conftest import Serving, a_completion
from tests.servers.faulty_upstream import DONE, HELLO, ROLE, USAGE, FaultyUpstream, event, stream, whole

QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "What is 2 + 2?"}]}
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def a_call(index: int, city: str) -> dict[str, Any]:
    called = {"name": "weather", "arguments": f'{{"city": "{city}"}}'}
    return {"id": f"call_{index}", "type": "function", "function": called}


TWO_CALLS = {"role": "assistant", "content": None, "tool_calls": [a_call(0, "Bern"), a_call(1, "Košice")]}
AFTER_TWO_CALLS = [
    *QUESTION["messages"],
    TWO_CALLS,
    {"role": "tool", "tool_call_id": "call_0", "content": "12 °C"},
    {"role": "tool", "tool_call_id": "call_1", "content": "9 °C"},
]
A_PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}
LOGPROBS = {"content": [{"token": "Hi", "logprob": -0.25, "bytes": [72, 105], "top_logprobs": []}], "refusal": None}


def part(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    """One event with all that the client's stream helpers look for."""
    return event(delta, finish, id="chatcmpl-1", created=1, model="upstream-big", **more)


def client_of(base_url: str, key: str, **more: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=base_url, api_key=key, **more)


def client(serving: Serving, **more: Any) -> openai.OpenAI:
    return client_of(serving.base_url, serving.key, **more)


ASKED: dict[str, dict[str, Any]] = {
    "a question": QUESTION,
    "tools": {**QUESTION, "tools": [WEATHER], "tool_choice": "auto", "parallel_tool_calls": True},
    "results of tools": {"messages": AFTER_TWO_CALLS, "tools": [WEATHER]},
    "log probabilities": {**QUESTION, "n": 2, "logprobs": True, "top_logprobs": 3},
    "a picture": {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, A_PICTURE]}]},
    "a developer's word": {"messages": [{"role": "developer", "content": "Be brief."}, *QUESTION["messages"]]},
    "numbers": {**QUESTION, "temperature": 0.1, "seed": 2**53, "max_completion_tokens": 5, "logit_bias": {"50256": -9}},
    "unknown fields": {**QUESTION, "extra_body": {"top_k": 3, "vendor": {"deep": [None, "\u2028", "\x00"]}}},
}
ANSWERED = {
    "tools": a_completion(TWO_CALLS),
    "log probabilities": a_completion(
        choices=[{**a_completion()["choices"][0], "index": i, "logprobs": LOGPROBS} for i in (0, 1)]
    ),
    "unknown fields": a_completion(service_tier="default", vendor={"cache": [1.5, None]}),
}


@pytest.mark.parametrize("what", ASKED)
def test_what_is_asked_and_answered_is_the_same_as_without_a_gateway(serving, upstream, what):
    upstream.always(whole(200, ANSWERED.get(what, a_completion())))

    def ask(base_url: str, key: str, model: str) -> Any:
        with client_of(base_url, key) as made:
            return made.chat.completions.create(model=model, **ASKED[what]).model_dump()

    answer = serving.compare(ask)

    assert answer["choices"][0]["message"]["role"] == "assistant"


@pytest.mark.parametrize("what", ["a question", "tools"])
def test_the_asynchronous_client_gets_the_same(serving, upstream, what):
    upstream.always(whole(200, ANSWERED.get(what, a_completion())))

    def ask(base_url: str, key: str, model: str) -> Any:
        async def over() -> Any:
            async with openai.AsyncOpenAI(base_url=base_url, api_key=key) as made:
                return (await made.chat.completions.create(model=model, **ASKED[what])).model_dump()

        return asyncio.run(over())

    serving.compare(ask)


CALLS_IN_PARTS = [
    part({"role": "assistant", "content": None}),
    part({"tool_calls": [{"index": 0, **a_call(0, "Bern")}]}),
    part({"tool_calls": [{"index": 1, "id": "call_1", "type": "function", "function": {"name": "weather"}}]}),
    part({"tool_calls": [{"index": 1, "function": {"arguments": '{"city": '}}]}),
    part({"tool_calls": [{"index": 1, "function": {"arguments": '"Ko\u0161ice"}'}}]}),
    part({}, "tool_calls"),
]
STREAMED = {
    "words": [
        part({"role": "assistant", "content": ""}),
        part({"content": "Hel"}),
        part({"content": "lo"}),
        part({}, "stop"),
    ],
    "usage": [*HELLO, USAGE],
    "two choices": [*(part({"content": c}, "stop" if c == "." else None, index=i) for c in "ab." for i in (0, 1))],
    "calls of tools": CALLS_IN_PARTS,
}


@pytest.mark.parametrize("what", STREAMED)
def test_a_stream_is_the_same_as_without_a_gateway(serving, upstream, what):
    upstream.always(*stream(*STREAMED[what], DONE))

    def ask(base_url: str, key: str, model: str) -> Any:
        with client_of(base_url, key) as made:
            parts = made.chat.completions.create(
                model=model, stream=True, stream_options={"include_usage": True}, **QUESTION
            )
            return [part.model_dump() for part in parts]

    parts = serving.compare(ask)

    assert len(parts) == len(STREAMED[what])


def test_an_asynchronous_stream_is_the_same_as_without_a_gateway(serving, upstream):
    upstream.always(*stream(*STREAMED["calls of tools"], DONE))

    def ask(base_url: str, key: str, model: str) -> Any:
        async def over() -> Any:
            async with openai.AsyncOpenAI(base_url=base_url, api_key=key) as made:
                parts = await made.chat.completions.create(model=model, stream=True, **QUESTION)
                return [part.model_dump() async for part in parts]

        return asyncio.run(over())

    assert len(serving.compare(ask)) == len(CALLS_IN_PARTS)


def test_helpers_of_the_client_put_a_streamed_call_of_two_tools_together(serving, upstream):
    upstream.always(*stream(*CALLS_IN_PARTS, DONE))

    with (
        client(serving) as made,
        made.chat.completions.stream(model="auto", tools=[WEATHER], **QUESTION) as events,
    ):
        message = events.get_final_completion().choices[0].message

    assert [call.function.arguments for call in message.tool_calls or ()] == ['{"city": "Bern"}', '{"city": "Košice"}']


class Sum(pydantic.BaseModel):
    terms: list[int]
    total: int


def test_structured_output_comes_back_as_the_type_that_was_asked_for(serving, upstream):
    upstream.always(whole(200, a_completion({"role": "assistant", "content": '{"terms": [2, 2], "total": 4}'})))

    def ask(base_url: str, key: str, model: str) -> Any:
        with client_of(base_url, key) as made:
            asked = made.chat.completions.parse(model=model, response_format=Sum, **QUESTION)
            return asked.choices[0].message.parsed

    assert serving.compare(ask) == Sum(terms=[2, 2], total=4)
    assert upstream.requests[0].body["response_format"]["json_schema"]["strict"] is True


def test_completions_and_embeddings_pass_through_by_the_name_of_a_model(serving, upstream):
    vectors = {"object": "list", "model": "e", "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -1.0]}]}
    text = {"id": "c", "object": "text_completion", "created": 1, "model": "m"}
    choices = [{"index": 0, "text": "4", "finish_reason": "stop", "logprobs": None}]

    def embed(base_url: str, key: str, model: str) -> Any:
        with client_of(base_url, key) as made:
            return made.embeddings.create(model=model, input=["a", "b"], encoding_format="float").data[0].embedding

    def complete(base_url: str, key: str, model: str) -> Any:
        with client_of(base_url, key) as made:
            return made.completions.create(model=model, prompt="2 + 2 =", max_tokens=1).choices[0].text

    upstream.always(whole(200, {**vectors, "usage": {"prompt_tokens": 2, "total_tokens": 2}}))
    assert serving.compare(embed, "big") == [0.5, -1.0]
    upstream.always(whole(200, {**text, "choices": choices}))
    assert serving.compare(complete, "big") == "4"


def test_the_client_says_who_answered_and_under_which_id(serving):
    with client(serving) as made:
        raw = made.chat.completions.with_raw_response.create(model="auto", **QUESTION)

        assert raw.headers["x-prefroute-model"] == "big"
        assert raw.parse()._request_id == raw.headers["x-request-id"]
        assert {"auto", "big", "small"} <= {model.id for model in made.models.list()}
        assert made.models.retrieve("auto").id == "auto"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"model": "nobody"}, openai.NotFoundError),
        ({"messages": []}, openai.BadRequestError),
        ({"extra_body": {"n": 0}}, openai.BadRequestError),
        ({"extra_headers": {"authorization": "Bearer pr-wrong"}}, openai.AuthenticationError),
    ],
)
@pytest.mark.parametrize("is_stream", [False, True])
def test_what_is_refused_is_a_typed_error_and_reaches_no_model(serving, upstream, change, error, is_stream):
    with client(serving) as made, pytest.raises(error) as caught:
        made.chat.completions.create(**{"model": "auto", **QUESTION, "stream": is_stream, **change})

    assert caught.value.request_id.startswith("req_")
    assert caught.value.code
    assert upstream.requests == []


def test_too_many_requests_are_a_typed_error_that_says_when_to_come_again(serving, upstream):
    with client_of(serving.base_url, serving.slow_key, max_retries=0) as made:
        made.chat.completions.create(model="auto", **QUESTION)
        with pytest.raises(openai.RateLimitError) as caught:
            made.chat.completions.create(model="auto", **QUESTION)

    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60
    assert len(upstream.requests) == 1


def test_a_refusal_by_the_model_is_asked_for_once(serving, upstream):
    refusal = {"message": "too long", "type": "invalid_request_error", "param": "messages", "code": "too_long"}
    upstream.always(whole(400, {"error": refusal}))

    with client(serving) as made, pytest.raises(openai.BadRequestError, match="too long") as caught:
        made.chat.completions.create(model="auto", **QUESTION)

    assert (caught.value.code, caught.value.param) == ("too_long", "messages")
    assert len(upstream.requests) == 1


def test_a_model_that_gives_no_answer_is_not_asked_again_by_the_client(serving, upstream):
    upstream.always(whole(200, b"<html>", kind="text/html"))
    before = serving.n_requests()

    with client(serving) as made, pytest.raises(openai.InternalServerError) as caught:
        made.chat.completions.create(model=serving.frail(), **QUESTION)

    assert (caught.value.status_code, caught.value.code) == (502, "upstream_invalid_response")
    assert serving.n_requests() - before == 1  # the client would ask three times, were it not told
    assert len(upstream.requests) == 1


def test_a_stream_that_is_cut_raises(serving, upstream):
    upstream.does(*stream(ROLE, event({"content": "Hel"})))
    text = ""

    with client(serving) as made:
        parts = made.chat.completions.create(model=serving.frail(), stream=True, **QUESTION)
        with pytest.raises(openai.APIError, match="not complete") as caught:  # noqa: PT012 - the loop raises
            for part in parts:
                text += part.choices[0].delta.content

    assert text == "Hel"
    assert caught.value.code == "upstream_stream_error"


def test_an_asynchronous_stream_that_is_cut_raises(serving, upstream):
    upstream.does(*stream(ROLE, event({"content": "Hel"})))

    async def over() -> str:
        text = ""
        async with openai.AsyncOpenAI(base_url=serving.base_url, api_key=serving.key) as made:
            parts = await made.chat.completions.create(model=serving.frail(), stream=True, **QUESTION)
            with pytest.raises(openai.APIError, match="not complete"):  # noqa: PT012 - the loop raises
                async for part in parts:
                    text += part.choices[0].delta.content
        return text

    assert asyncio.run(over()) == "Hel"


def test_leaving_a_stream_early_ends_the_models_work(serving, upstream):
    upstream.left_at = None
    upstream.does(*stream(ROLE, event({"content": "Hel"}), ends=False), "stall")

    with client(serving) as made:
        parts = made.chat.completions.create(model="auto", stream=True, **QUESTION)
        while next(parts).choices[0].delta.content != "Hel":
            pass
        parts.close()

    assert _left(upstream)


def _left(upstream: FaultyUpstream) -> bool:
    deadline = time.monotonic() + 10
    while upstream.left_at is None and time.monotonic() < deadline:
        time.sleep(0.005)
    return upstream.left_at is not None
