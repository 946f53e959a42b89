"""langchain-openai, unmodified; in the clients' own environment (`make clients`)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.clients.conftest import Serving, a_completion
from tests.servers.faulty_upstream import DONE, ROLE, USAGE, event, stream, whole

langchain_openai = pytest.importorskip("langchain_openai", exc_type=ModuleNotFoundError)

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"name": "weather", "description": "What the weather is.", "parameters": CITY}
CALL = {"id": "call_0", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bern"}'}}


def chat(base_url: str, key: str, model: str, **more: Any) -> Any:
    return langchain_openai.ChatOpenAI(base_url=base_url, api_key=key, model=model, **more)


def of(serving: Serving, model: str, **more: Any) -> Any:
    return chat(serving.base_url, serving.key, model, **more)


def said(message: Any) -> dict[str, Any]:
    """What a message says, without the id that every run makes anew."""
    return dict(message.model_dump(exclude={"id"}))


def test_an_answer_is_the_same_as_without_a_gateway(serving, upstream):
    upstream.always(whole(200, a_completion()))

    answer = serving.compare(lambda *where: said(chat(*where, temperature=0.5, seed=3).invoke("What is 2 + 2?")))

    assert answer["content"] == "Hello"
    assert answer["usage_metadata"]["total_tokens"] == 9


def test_calls_of_tools_are_the_same_as_without_a_gateway(serving, upstream):
    upstream.always(whole(200, a_completion({"role": "assistant", "content": None, "tool_calls": [CALL]})))

    def ask(*where: str) -> Any:
        return said(chat(*where).bind_tools([WEATHER], parallel_tool_calls=True).invoke("Weather in Bern?"))

    (call,) = serving.compare(ask)["tool_calls"]
    assert (call["name"], call["args"]) == ("weather", {"city": "Bern"})


def test_structured_output_is_the_same_as_without_a_gateway(serving, upstream):
    upstream.always(whole(200, a_completion({"role": "assistant", "content": '{"city": "Bern"}'})))
    schema = {"title": "place", "description": "A place.", **CITY}

    def ask(*where: str) -> Any:
        return chat(*where).with_structured_output(schema, method="json_schema").invoke("Where is the bear pit?")

    assert serving.compare(ask) == {"city": "Bern"}
    assert upstream.requests[0].body["response_format"]["type"] == "json_schema"


def test_streams_are_the_same_as_without_a_gateway(serving, upstream):
    upstream.always(*stream(ROLE, event({"content": "Hel"}), event({"content": "lo"}), event({}, "stop"), USAGE, DONE))

    def ask(*where: str) -> Any:
        return [said(part) for part in chat(*where, stream_usage=True).stream("What is 2 + 2?")]

    def ask_asynchronously(*where: str) -> Any:
        async def over() -> Any:
            return [said(part) async for part in chat(*where).astream("What is 2 + 2?")]

        return asyncio.run(over())

    assert "".join(part["content"] for part in serving.compare(ask)) == "Hello"
    assert "".join(part["content"] for part in serving.compare(ask_asynchronously)) == "Hello"


def test_many_questions_at_once_get_an_answer_each(serving):
    answers = of(serving, "auto").batch([f"What is {i} + 2?" for i in range(8)])

    assert [answer.content for answer in answers] == ["Hello"] * 8


@pytest.mark.parametrize(("key", "model", "status"), [("pr-wrong", "auto", 401), (None, "nobody", 404)])
def test_what_is_refused_raises_at_once_and_reaches_no_model(serving, upstream, key, model, status):
    import openai

    with pytest.raises(openai.APIStatusError) as caught:
        chat(serving.base_url, key or serving.key, model).invoke("What is 2 + 2?")

    assert caught.value.status_code == status
    assert upstream.requests == []


def test_a_model_that_gives_no_answer_is_not_asked_again_by_the_client(serving, upstream):
    import openai

    upstream.always(whole(200, {"choices": []}))
    before = serving.n_requests()

    with pytest.raises(openai.InternalServerError):
        of(serving, serving.frail()).invoke("What is 2 + 2?")

    assert serving.n_requests() - before == len(upstream.requests) == 1


def test_a_stream_that_is_cut_raises(serving, upstream):
    import openai

    upstream.does(*stream(ROLE, event({"content": "Hel"})))

    with pytest.raises(openai.APIError, match="not complete"):
        list(of(serving, serving.frail()).stream("What is 2 + 2?"))
